"""Applications that raise or return what they should not: a 500 or a cut-off response, and the worker goes on."""
import http.client
import socket

import pytest

from conftest import APPS
from health import unharmed

CORES = 4
ERRORS = ['ValueError', 'SystemExit', 'KeyboardInterrupt', 'GeneratorExit', 'StopIteration', 'MemoryError']


def ask(running, path):
    """Three times as many bad requests as cores; what the last was answered."""
    for _ in range(3 * CORES):
        answer = running.get(path)
    return answer


@pytest.mark.smoke
@pytest.mark.parametrize('error', ERRORS)
@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_error_before_anything_was_sent_is_a_500(server, error, protocol):
    running = server('bad.py', cores=CORES, protocol=protocol)
    with unharmed(running, CORES):
        for where in ('before', 'after', 'after_wait'):
            status, _, body = ask(running, f'/raises_{where}?{error}')
            assert (status, body) == (500, b'Internal Server Error'), where
    assert f'{error}: as asked' in running.log
    assert 'Traceback' in running.log


@pytest.mark.parametrize('error', [e for e in ERRORS if e != 'StopIteration'])
def test_error_in_the_first_step_of_a_generator_is_a_500(server, error):
    running = server('bad.py', cores=CORES)
    with unharmed(running, CORES):
        assert ask(running, f'/raises_in_first_step?{error}')[0] == 500


@pytest.mark.parametrize('error', ERRORS)
@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_error_in_a_generator_cuts_the_response_off(server, error, protocol):
    """The client is told by the end of the connection that the ten bytes are not all."""
    running = server('bad.py', cores=CORES, protocol=protocol)
    with unharmed(running, CORES):
        for _ in range(3 * CORES):
            with pytest.raises(http.client.IncompleteRead) as cut_off:
                running.get(f'/raises_in_generator?{error}')
            assert cut_off.value.partial == b'hello'


@pytest.mark.parametrize('error', ERRORS)
def test_error_in_close_comes_after_a_whole_response(server, error):
    running = server('bad.py', cores=CORES)
    with unharmed(running, CORES):
        status, _, body = ask(running, f'/raises_in_close?{error}')
        assert (status, body) == (200, b'hello')
    assert f'{error}: as asked' in running.log


@pytest.mark.parametrize('path', ['/returns?None', '/returns?int', '/returns?object', '/bad_status', '/bad_headers'])
def test_what_is_no_response_is_a_500(server, path):
    running = server('bad.py', cores=CORES)
    with unharmed(running, CORES):
        assert ask(running, path)[0] == 500


@pytest.mark.parametrize('path', ['/returns?str', '/returns?ints', '/silent'])
def test_what_is_hardly_a_response_is_answered_somehow(server, path):
    """uWSGI skips chunks that are no bytes, and says so in the log."""
    running = server('bad.py', cores=CORES)
    with unharmed(running, CORES):
        for _ in range(3 * CORES):
            with running.connect() as connection:
                connection.sendall(b'GET %s HTTP/1.0\r\n\r\n' % path.encode())
                assert connection.makefile('rb').read()


@pytest.mark.smoke
def test_missing_app_is_a_500_and_no_end(server):
    running = server(None, cores=CORES)
    pid, before = running.process.pid, None
    for _ in range(3 * CORES):
        assert running.get()[0] == 500
        before = before or running.descriptors()
    assert running.process.poll() is None and running.process.pid == pid
    assert running.descriptors() <= before


def test_app_that_does_not_load_is_a_500_and_no_end(server, tmp_path):
    broken = tmp_path / 'broken.py'
    broken.write_text('raise RuntimeError("on import")\n')
    running = server(None, '--wsgi-file', str(broken), cores=CORES)
    assert [running.get()[0] for _ in range(3 * CORES)] == [500] * 3 * CORES


def test_errors_of_many_requests_at_once_stay_apart(server):
    """Others are in the middle of their waits while one fails."""
    running = server('bad.py', cores=40)
    paths = ['/sleep?0.3', '/raises_after_wait?SystemExit', '/raises_after_wait?ValueError', '/hold?0.2'] * 10
    with unharmed(running, 40):
        results, _ = running.get_all(paths)
        assert [(r[0], r[2]) for r in results] == [
            (200, b'hello'), (500, b'Internal Server Error'), (500, b'Internal Server Error'), (200, b'here')] * 10


def ask_raw(path, said):
    """What a raw application answers, up to the end of the connection."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(path)
        connection.sendall(said)
        return b''.join(iter(lambda: connection.recv(100), b''))


def test_exit_of_a_raw_application_ends_its_request_only(server, tmp_path):
    address = str(tmp_path / 'raw')
    running = server('wire.py', '--raw-socket', address, '--python-raw', str(APPS / 'raw.py'), cores=CORES)
    before = ask_raw(address, b'pid')
    assert before.endswith(b' it is')
    for _ in range(3 * CORES):
        assert ask_raw(address, b'exit') == b''
        assert ask_raw(address, b'iterate') == b'first '
    assert ask_raw(address, b'pid') == before
    assert ask_raw(address, b'hello') == b'olleh'
    for where in ('at once', 'in a chunk'):
        assert f'SystemExit: as asked, {where}' in running.log


@pytest.mark.parametrize('error', ['SystemExit', 'KeyboardInterrupt', 'ValueError'])
def test_error_in_the_hook_after_a_request_ends_nothing(server, error):
    running = server('bad_hook.py', cores=CORES)
    pid = running.get('/')[2]
    assert pid.isdigit()
    for _ in range(3 * CORES):
        assert running.get(f'/?{error}')[::2] == (200, pid)
    assert f'{error}: as asked' in running.log
