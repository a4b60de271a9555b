"""Clients that are not what they should be: each leaves the worker serving, no core and no descriptor lost."""
import contextlib
import itertools
import pathlib
import socket
import struct
import threading
import time

import pytest

from health import closed_by_server, unharmed

CORES = 4
REQUEST = b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
BEGINNINGS = [b'', b'GET /hal', b'GET / HTTP/1.1\r\nHost: exam', b'GET / HTTP/1.1\r\nHost: x\r\n']
GARBAGE = [
    b'\0' * 300, b'\xff' * 5000, b'\r\n\r\n', b' \r\n\r\n', b'GET\r\n\r\n', b'GET  \r\n\r\n', b'GET / \r\n\r\n',
    b'GET / HTTP/1.1\r\n:\r\n\r\n', b'GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n',
    b'GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n', b'POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n',
    b'GET / HTTP/1.1\n\n', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + b'\x07' * 500 + b'\r\n\r\n',
    b'GET /%zz%00 HTTP/9.9\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    b'9:\0\0\0\0\0\0\0\0\0,', b'\1\1', REQUEST]


def connect_unix(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection


def reset(connection):
    """Closes with a reset instead of the orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    connection.close()


@pytest.mark.smoke
@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_stalled_request_frees_its_core_by_a_deadline(server, protocol):
    running = server('bad.py', '--socket-timeout', '1', cores=CORES, protocol=protocol)
    with unharmed(running, CORES):
        stalled = [running.connect() for _ in range(3 * CORES)]
        for connection, sent in zip(stalled, itertools.cycle(BEGINNINGS)):
            connection.sendall(sent)
        for connection in stalled:
            assert closed_by_server(connection) == b''
            connection.close()


def test_others_are_served_while_a_request_stalls(server):
    running = server('bad.py', cores=CORES)
    with unharmed(running, CORES), contextlib.ExitStack() as stack:
        for _ in range(CORES - 1):
            stack.enter_context(running.connect()).sendall(b'GET / HTTP/1.1\r\nHos')
        assert [running.get()[2] for _ in range(20)] == [b'hello'] * 20


@pytest.mark.parametrize('protocol', ['uwsgi-socket', 'fastcgi-socket', 'scgi-socket'])
def test_ending_a_stalled_request_does_not_stop_the_others(server, tmp_path, protocol):
    """FastCGI's own end of a request reads on until the client has sent all of it."""
    path = str(tmp_path / 'socket')
    running = server('bad.py', f'--{protocol}', path, '--socket-timeout', '1', cores=CORES)
    with connect_unix(path) as stalled, running.connect() as ticking:
        ticking.sendall(b'GET /tick?1.5 HTTP/1.0\r\n\r\n')
        stalled.sendall(b'\1')
        closed_by_server(stalled)
        longest_gap = float(closed_by_server(ticking).split()[-1])
    assert longest_gap < 0.5


def test_request_in_pieces_is_served(server):
    running = server('bad.py', cores=CORES)
    with running.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in REQUEST:
            connection.sendall(bytes([byte]))
        assert closed_by_server(connection).endswith(b'hello')


def test_dripping_client_does_not_hold_a_core_for_ever(server):
    """Each byte comes in time; the header as a whole does not."""
    running = server('bad.py', '--socket-timeout', '1', cores=CORES)
    with unharmed(running, CORES):
        connections = [running.connect() for _ in range(CORES)]
        closed = threading.Event()

        def drip():
            with contextlib.suppress(OSError):
                while not closed.wait(0.1):
                    for connection in connections:
                        connection.sendall(b'x')

        dripping = threading.Thread(target=drip)
        dripping.start()
        for connection in connections:
            assert closed_by_server(connection) == b''
        closed.set()
        dripping.join()
        for connection in connections:
            connection.close()


@pytest.mark.parametrize('sent', [b'', b'GET /hal', b'GET / HTTP/1.1\r\nHost: exam', REQUEST])
@pytest.mark.parametrize('leave', [socket.socket.close, reset])
@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_client_may_leave_at_any_time(server, sent, leave, protocol):
    running = server('bad.py', cores=CORES, protocol=protocol)
    with unharmed(running, CORES):
        for _ in range(3 * CORES):
            connection = running.connect()
            connection.sendall(sent)
            leave(connection)


@pytest.mark.parametrize('leave', [socket.socket.close, reset])
def test_client_may_leave_while_its_request_waits(server, leave):
    running = server('bad.py', cores=CORES)
    with unharmed(running, CORES):
        for _ in range(3 * CORES):
            connection = running.connect()
            connection.sendall(b'GET /hold?0.05 HTTP/1.1\r\n\r\n')
            connection.recv(1)  # The request runs.
            leave(connection)


@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_oversized_header_is_refused_and_leaves_no_trace(server, protocol):
    """The core that had it serves the next request as if nothing had been."""
    running = server('bad.py', cores=CORES, protocol=protocol)
    before = running.get('/request')[2]
    with unharmed(running, CORES):
        for _ in range(3 * CORES):
            with running.connect() as connection:
                with contextlib.suppress(OSError):
                    connection.sendall(b'GET /request?secret HTTP/1.1\r\nX-Secret: ' + b's' * 10000 + b'\r\n\r\n')
                assert closed_by_server(connection) == b''
            assert running.get('/request')[2].replace(str(running.port).encode(), b'') == \
                before.replace(str(running.port).encode(), b'')
    assert 'invalid HTTP request size' in running.log or 'invalid request block size' in running.log


@pytest.mark.parametrize('protocol', [
    'http-socket', 'http11-socket', 'uwsgi-socket', 'fastcgi-socket', 'scgi-socket'])
def test_garbage_harms_nobody(server, tmp_path, protocol):
    """The worker is asked how it is on its other socket."""
    path = str(tmp_path / 'socket')
    running = server('bad.py', f'--{protocol}', path, '--socket-timeout', '1', cores=CORES)
    with unharmed(running, CORES):
        connections = [connect_unix(path) for _ in GARBAGE]
        for connection, garbage in zip(connections, GARBAGE):
            with contextlib.suppress(OSError):
                connection.sendall(garbage)
        for connection in connections:
            closed_by_server(connection)  # An answer or none: it ends.
            connection.close()


def backlog():
    """A queue for every client of the test, where the kernel lets it be so long."""
    return str(min(400, int(pathlib.Path('/proc/sys/net/core/somaxconn').read_text())))


@pytest.mark.smoke
def test_a_burst_of_clients_is_served_by_few_cores(server):
    running = server('bad.py', '--listen', backlog(), cores=10)
    with unharmed(running, 10):
        results, seconds = running.get_all(['/sleep?0.02'] * 300)
        assert [r[2] if isinstance(r, tuple) else r for r in results] == [b'hello'] * 300
        assert seconds < 300 * 0.02 / 2


@pytest.mark.parametrize('options', [[], ['--thunder-lock', '--master', '--processes', '2']], ids=' '.join)
def test_a_full_worker_does_not_spin(server, options):
    running = server('bad.py', '--listen', backlog(), *options, cores=CORES)
    held = [running.connect() for _ in range(CORES * len(running.worker_pids()))]
    for connection in held:
        connection.sendall(b'GET /hold?1.5 HTTP/1.0\r\n\r\n')
    for connection in held:
        connection.recv(1)  # Every core is taken.
    waiting = [running.connect() for _ in range(50)]
    for connection in waiting:
        connection.sendall(REQUEST)
    before = running.cpu_s()
    time.sleep(0.8)  # The time over which CPU is measured.
    assert running.cpu_s() - before < 0.1
    for connection in waiting:
        assert closed_by_server(connection).endswith(b'hello')
    for connection in held + waiting:
        connection.close()
