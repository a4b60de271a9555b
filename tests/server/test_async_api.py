"""uWSGI's async API: what test_hooks.py leaves of it. Whoever waits, waits alone."""
import shlex
import subprocess

import pytest

from conftest import APPS, EMBEDDED
from health import closed_by_server
from overlap import QUICK, WAITING, answers_beside, assert_far_below_serial

# Room for those that ask beside those that wait.
CORES = WAITING + QUICK + 5


@pytest.fixture
def start(server):
    return lambda *options, **more: server('async_api.py', *options, cores=CORES, **more)


def beside(running, paths):
    return answers_beside(running, paths, waiting=lambda: int(running.get('/count')[2]),
                          release=lambda: running.get('/release'))


@pytest.mark.smoke
@pytest.mark.parametrize('way', ['wait_fd_read', 'wait_fd_write', 'fdevent_readable', 'fdevent_writable',
                                 'suspend', 'with_yields'])
def test_waits_for_descriptors_hold_nobody_up(start, way):
    """Each is resumed by its own descriptor, and nothing else, whatever others do meanwhile."""
    assert beside(start(), [f'/{way}'] * WAITING) == [b'ready'] * WAITING


def test_timeouts_overlap(start):
    """And are forgotten by the wait after."""
    running = start()
    results, seconds = running.get_all([f'/time_out?{n % 4}' for n in range(WAITING)] + ['/'] * QUICK)
    assert [r[2] for r in results] == [b'True -1, None True'] * WAITING + [b'hello'] * QUICK
    assert_far_below_serial(seconds, WAITING, 1)


@pytest.mark.smoke
@pytest.mark.parametrize('way', ['async_sleep', 'async_sleep_suspend'])
def test_async_sleep_takes_fractions_of_a_second(start, way):
    running = start()
    for seconds in (0.25, 1.25):
        results, whole = running.get_all([f'/{way}?{seconds}'] * WAITING)
        slept = [float(r[2]) for r in results]
        assert min(slept) >= seconds - 0.01
        assert min(slept) < seconds + 0.5  # Not rounded up; the rest is room for a loaded machine.
        assert_far_below_serial(whole, WAITING, seconds)


def test_first_timeout_counts(start):
    assert 0.19 < float(start().get('/first_timeout_counts')[2]) < 20


def test_ready_fd_tells_which_of_several(start):
    results, _ = start().get_all(['/several'] * WAITING)
    assert [r[2] for r in results] == [b'True True True'] * WAITING


def test_readiness_counts_when_the_request_waits(start):
    """Asked for, it costs nothing until the request waits, and is looked at then."""
    results, _ = start().get_all(['/asked_and_left'])
    assert results[0][2] == b'True True True'


@pytest.fixture
def either(tmp_path):
    """The library that calls wait_read2_hook."""
    uwsgi = EMBEDDED or 'uwsgi'
    (tmp_path / 'uwsgi.h').write_bytes(subprocess.check_output([uwsgi, '--dot-h']))
    flags = shlex.split(subprocess.check_output([uwsgi, '--cflags'], text=True))
    library = str(tmp_path / 'either.so')
    subprocess.run(['cc', *flags, '-I', str(tmp_path), '-shared', '-fPIC', '-o', library, str(APPS / 'either.c')],
                   check=True, capture_output=True)
    return library


def test_wait_for_two_descriptors(start, either):
    running = start(environ={'EITHER': either})
    ways = ['first', 'second'] * (WAITING // 2)
    assert beside(running, [f'/either?{way}' for way in ways]) == [f'1 {way}'.encode() for way in ways]
    results, seconds = running.get_all(['/either?none'] * WAITING)
    assert [r[2] for r in results] == [b'0 None'] * WAITING
    assert_far_below_serial(seconds, WAITING, 1)


def test_async_connect(start, held_line, pages):
    running = start()
    line = held_line(int(pages.rsplit(':', 1)[1]))
    assert answers_beside(running, [f'/async_connect?127.0.0.1:{line.port}'] * WAITING,
                          waiting=lambda: line.held, release=line.release) == [b'200'] * WAITING


def test_connection_fd_can_be_waited_for(start):
    running = start()
    connections = [running.connect() for _ in range(WAITING)]
    for connection in connections:
        connection.sendall(b'GET /connection_fd HTTP/1.0\r\n\r\n')
    for connection in connections:
        while b'go on' not in connection.recv(1000):
            pass
    assert running.get()[2] == b'hello'
    for number, connection in enumerate(connections):
        connection.sendall(b'more of %d' % number)
    assert [closed_by_server(connection) for connection in connections] == [b'more of %d' % n for n in range(WAITING)]
    for connection in connections:
        connection.close()


def test_waits_outside_any_request(start):
    """On virtual threads of spawn(); each is resumed by its own descriptor."""
    slept, right = start().get('/spawned')[2].split()
    assert 0.19 < float(slept) < 0.7 and right == b'True'
