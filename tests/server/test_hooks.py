"""Every hook through which uWSGI lets a request wait: its input, its output, its async API, its RPC."""
import contextlib
import hashlib
import socket
import threading

import pytest

from conftest import EMBEDDED
from health import closed_by_server, read_until

CHUNK = b'0123456789abcde\n' * 64


@pytest.fixture
def start(server):
    return lambda *options, cores=50, **more: server('hooks.py', *options, cores=cores, **more)


# Debian has it as a file; the embedded binary has it inside.
RPC = [] if EMBEDDED else ['--plugin', 'rpc']


def body_of(response):
    return response.split(b'\r\n\r\n', 1)[1]


@pytest.mark.smoke
@pytest.mark.parametrize('path', ['/upload_read', '/upload_read?100', '/upload_lines'])
def test_upload_survives_a_dripping_client(start, path):
    """Others are served between any two of its pieces."""
    running = start(cores=3)
    pieces = [CHUNK[i:i + 100] for i in range(0, len(CHUNK), 100)]
    with running.connect() as connection:
        connection.sendall(b'POST %s HTTP/1.0\r\nContent-Length: %d\r\n\r\n' % (path.encode(), len(CHUNK)))
        for piece in pieces:
            assert running.get()[0] == 200
            connection.sendall(piece)
        assert body_of(closed_by_server(connection)) == hashlib.sha256(CHUNK).hexdigest().encode()


@pytest.mark.parametrize('path', ['/upload_read', '/upload_read?65536', '/upload_lines'])
@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_large_upload(start, path, protocol):
    body = CHUNK * 4000
    status, _, answer = start(protocol=protocol).get(path, 'POST', body)
    assert (status, answer) == (200, hashlib.sha256(body).hexdigest().encode())


def test_post_buffering(start):
    body = CHUNK * 2000
    assert start('--post-buffering', '8192').get('/upload_read?1000', 'POST', body)[2] == \
        hashlib.sha256(body).hexdigest().encode()


def test_upload_that_stops_half_way_times_out(start):
    running = start('--socket-timeout', '1', cores=3)
    stalled = [running.connect() for _ in range(9)]
    for connection in stalled:
        connection.sendall(b'POST /upload_read HTTP/1.0\r\nContent-Length: 1000\r\n\r\nhalf')
    for connection in stalled:
        assert b'500 Internal' in closed_by_server(connection)
        connection.close()
    assert running.log.count('timeout during read(0) on wsgi.input') == 9
    assert running.get()[0] == 200


def test_upload_whose_client_leaves_ends(start):
    running = start(cores=3)
    before = running.descriptors()
    for path in ('/upload_read', '/upload_lines') * 5:
        with running.connect() as connection:
            connection.sendall(b'POST %s HTTP/1.0\r\nContent-Length: 1000\r\n\r\nhalf' % path.encode())
    assert [r[2] for r in running.get_all(['/wait?0.01'] * 9)[0]] == [b'hello'] * 9
    assert running.descriptors() <= before + 3


@pytest.mark.smoke
def test_slow_readers_hold_nobody_up(start):
    """Responses larger than the socket's buffers wait for their clients, 200 at once."""
    size = 1_000_000
    running = start('--socket-sndbuf', '65536', cores=210)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(running.connect()) for _ in range(200)]
        for reader in readers:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            reader.sendall(b'GET /download?%d HTTP/1.0\r\n\r\n' % size)
        for reader in readers:
            assert reader.recv(1) == b'H'  # Every response is under way.
        assert [running.get()[2] for _ in range(50)] == [b'hello'] * 50
        for reader in readers[:20]:
            assert len(body_of(b'H' + closed_by_server(reader))) == size
    assert running.get()[0] == 200  # 180 readers left in the middle.


def test_reader_that_stops_times_out(start):
    running = start('--socket-timeout', '1', '--socket-sndbuf', '65536', cores=3)
    stalled = [running.connect() for _ in range(6)]
    for reader in stalled:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        reader.sendall(b'GET /download?1000000 HTTP/1.0\r\n\r\n')
    assert [r[2] for r in running.get_all(['/'] * 6)[0]] == [b'hello'] * 6
    for reader in stalled:
        reader.close()


def test_generators_with_waits_overlap(start):
    running = start(cores=60)
    results, seconds = running.get_all(['/steps?0.03'] * 50)
    assert [r[2] for r in results] == [b'0 1 2 3 4 5 6 7 8 9 '] * 50
    assert seconds < 50 * 10 * 0.03 / 5


def test_chunks_arrive_as_they_are_made(start):
    with start().connect() as connection:
        connection.sendall(b'GET /steps?0.1 HTTP/1.0\r\n\r\n')
        read_until(connection, b'\r\n\r\n')
        assert b'9 ' not in connection.recv(1000)


def test_endless_generators_starve_nobody(start):
    """Their clients read as fast as they can, so they never have to wait."""
    running = start()
    stop = threading.Event()

    def drink():
        with running.connect() as connection:
            connection.sendall(b'GET /endless HTTP/1.0\r\n\r\n')
            while not stop.is_set():
                connection.recv(1 << 20)

    drinkers = [threading.Thread(target=drink) for _ in range(5)]
    for drinker in drinkers:
        drinker.start()
    try:
        results, _ = running.get_all(['/wait?0.05'] * 20)
        assert [r[2] for r in results] == [b'hello'] * 20
    finally:
        stop.set()
        for drinker in drinkers:
            drinker.join()


def test_empty_yields(start):
    results, _ = start().get_all(['/empty_yields'] * 30)
    assert [r[2] for r in results] == [b'done'] * 30


def test_wait_fd_with_yields(start):
    """A timeout is not seen again in the waits after it, nor is a descriptor."""
    results, seconds = start().get_all(['/wait_fd'] * 30)
    assert [r[2] for r in results] == [b'timeout ready ready timeout ready'] * 30
    assert seconds < 30 * 2 / 3


def test_wait_fd_with_suspend(start):
    """A timeout of one second is not over sooner, whatever the clock shows of its present one."""
    results, _ = start().get_all(['/wait_fd_suspend'] * 20)
    assert [r[2] for r in results] == [b'True True True'] * 20


def test_timeout_is_forgotten_by_the_next_wait(start):
    results, _ = start().get_all(['/timeout_unseen'] * 10)
    assert [r[2] for r in results] == [b'None'] * 10


def test_fdevent_extension(start):
    results, _ = start().get_all(['/fdevent'] * 20)
    assert [r[2] for r in results] == [b'TrueFalse'] * 20


def test_async_sleep(start):
    results, seconds = start().get_all(['/async_sleep'] * 30)
    assert [r[2] for r in results] == [b'slept'] * 30
    assert 0.9 < seconds < 30 / 3


def test_suspend_gives_way_and_comes_back(start):
    results, _ = start().get_all(['/suspends'] * 30)
    assert [r[2] for r in results] == [b'hello'] * 30


def test_wait_nobody_waited_for_leaves_nothing(start):
    running = start(cores=3)
    running.get('/wait_and_leave')
    before = running.descriptors()
    for _ in range(9):
        assert running.get('/wait_and_leave')[2] == b'hello'
        assert running.get('/wait_fd_suspend' if _ == 8 else '/')[0] == 200
    assert running.descriptors() <= before
    cpu = running.cpu_s()
    assert running.get('/wait?0.5')[2] == b'hello'
    assert running.cpu_s() - cpu < 0.1


@pytest.mark.smoke
def test_current_request_is_right_after_waits(start):
    results, _ = start().get_all([f'/identity?{n}' for n in range(50)])
    assert [r[2] for r in results] == [b'True'] * 50


def test_logvars_belong_to_their_request(start):
    results, _ = start().get_all([f'/set_logvar?{n}' for n in range(40)])
    assert [r[2] for r in results] == [str(n).encode() for n in range(40)]


@pytest.mark.parametrize('waits', ['/rpc', '/slow_rpc'])
def test_rpc_to_another_uwsgi_suspends(start, tmp_path, waits):
    socket_path = str(tmp_path / 'rpc')
    start(*RPC, '--socket', socket_path)
    caller = start()
    results, seconds = caller.get_all([f'{waits}?{socket_path}'] * 30)
    assert [r[2] for r in results] == [b'abab' if waits == '/rpc' else b'slow'] * 30
    assert seconds < 30 * 0.3 / 3


def test_rpc_to_itself(start, tmp_path):
    """Also over its own socket, which only works because the caller is suspended."""
    socket_path = str(tmp_path / 'rpc')
    running = start(*RPC, '--socket', socket_path)
    assert running.get('/rpc')[2] == b'abab'
    assert running.get(f'/rpc?{socket_path}')[2] == b'abab'


def test_rpc_that_exits_does_not_end_the_worker(start):
    running = start()
    assert [running.get('/exiting_rpc')[2] for _ in range(3)] == [b'no answer'] * 3
    assert 'SystemExit: in an RPC' in running.log
