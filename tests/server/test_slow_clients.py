"""Clients that send slowly, not at all or too much: others are served meanwhile, and each ends in time."""
import contextlib
import socket
import ssl
import threading
import time

import pytest

from clients import exchange
from conftest import free_port
from crowd import GET, backlog, cores_taken, status_of
from health import closed_by_server, unharmed
from services import wait_until
from wire_requests import fastcgi_request, scgi_request, uwsgi_request

CORES = 4
STALLED = 500


class Drips:
    """Sends a header byte by byte on many connections, each again from the start when it is closed."""

    def __init__(self, running, count, wrap=lambda connection: connection):
        self.running, self.count, self.wrap = running, count, wrap
        self.ended = threading.Event()
        self.begun = threading.Event()
        self.closed = 0

    def __enter__(self):
        self.thread = threading.Thread(target=self.drip)
        self.thread.start()
        assert self.begun.wait(30)
        return self

    def __exit__(self, *error):
        self.ended.set()
        self.thread.join()

    def begin(self):
        connection = self.wrap(self.running.connect())
        connection.sendall(b'GET / HTTP/1.1\r\nX: ')
        return connection

    def drip(self):
        connections = [self.begin() for _ in range(self.count)]
        self.begun.set()
        while not self.ended.wait(0.05):
            for index, connection in enumerate(connections):
                try:
                    connection.sendall(b'x')
                except OSError:
                    self.closed += 1
                    connection.close()
                    connections[index] = self.begin()
        for connection in connections:
            connection.close()


def latencies(running, count):
    found = []
    for _ in range(count):
        began = time.monotonic()
        assert running.get()[0] == 200
        found.append(time.monotonic() - began)
    return found


@pytest.mark.smoke
def test_others_are_served_while_500_clients_drip_their_headers(server):
    """Five times as many as there are cores, each back at once when it is closed."""
    running = server('overload.py', '--listen', backlog(1024), cores=100)
    with Drips(running, STALLED) as drips:
        worst = max(latencies(running, 10))
        assert worst < 10  # The socket-timeout is 30 s.
        assert drips.closed > 0
    assert 'without a complete request' in running.log
    assert running.log.count('without a complete request') < 5


def test_free_cores_serve_at_once_beside_dripping_clients(server):
    running = server('overload.py', cores=CORES)
    with Drips(running, CORES - 1) as drips:
        assert max(latencies(running, 20)) < 5
        assert drips.closed == 0  # Nobody needed their cores.


def test_stalled_clients_keep_their_cores_while_nobody_waits(server):
    running = server('overload.py', cores=CORES)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(running.connect()) for _ in range(CORES)]
        for connection in slow:
            connection.sendall(GET[:5])
        before = running.cpu_s()
        time.sleep(1.5)  # They may be closed from here on, and the time over which CPU is measured.
        assert running.cpu_s() - before < 0.1
        for connection in slow:
            connection.sendall(GET[5:])
            assert status_of(closed_by_server(connection)) == 200


def test_running_requests_are_not_closed_for_others(server):
    running = server('overload.py', cores=CORES)
    with cores_taken(running, CORES), running.connect() as waiting:
        waiting.sendall(GET)
        waiting.settimeout(1.5)  # Longer than a stalled one would have been left.
        with pytest.raises(TimeoutError):
            waiting.recv(1)
    assert 'complete request' not in running.log


def tls(connection):
    return ssl._create_unverified_context().wrap_socket(connection)


@pytest.mark.parametrize('sent', ['nothing', 'half a header'])
def test_stalled_tls_clients_give_way_too(server, certificate, sent):
    port = free_port()
    running = server('overload.py', '--https-socket', f'127.0.0.1:{port},{certificate[0]},{certificate[1]}', cores=CORES)
    descriptors = running.descriptors()
    with contextlib.ExitStack() as stack:
        for _ in range(CORES):
            connection = stack.enter_context(socket.create_connection(('127.0.0.1', port), timeout=30))
            if sent == 'nothing':
                connection.sendall(b'\x16')  # Of a handshake.
            else:
                stack.enter_context(tls(connection)).sendall(GET[:5])
        wait_until(lambda: running.descriptors() >= descriptors + CORES, 'a core for each')
        assert latencies(running, 1)[0] < 10
    with cores_taken(running, CORES):
        pass


def test_dripping_tls_client_does_not_hold_a_core_for_ever(server, certificate):
    """Each byte comes in time; the header as a whole does not."""
    port = free_port()
    running = server('overload.py', '--https-socket', f'127.0.0.1:{port},{certificate[0]},{certificate[1]}',
                     '--socket-timeout', '1', cores=CORES)
    with tls(socket.create_connection(('127.0.0.1', port), timeout=30)) as connection:
        deadline = time.monotonic() + 20
        with pytest.raises(OSError):
            while time.monotonic() < deadline:
                connection.sendall(b'x')
                time.sleep(0.05)  # The drip.
    assert time.monotonic() < deadline


# --- Limits -------------------------------------------------------------------------------

@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_header_beyond_buffer_size_ends_the_connection(server, protocol):
    running = server('bad.py', '--buffer-size', '8192', cores=CORES, protocol=protocol)
    with unharmed(running, CORES):
        assert running.get(headers={'X': 'x' * 7000})[0] == 200
        with running.connect() as connection:
            with contextlib.suppress(OSError):
                connection.sendall(b'GET / HTTP/1.1\r\nX: ' + b'x' * 9000 + b'\r\n\r\n')
            assert closed_by_server(connection) == b''
    assert running.log.count('invalid HTTP request size (max 8192)...skip') == 1


@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_body_beyond_limit_post_ends_the_connection(server, protocol):
    running = server('bad.py', '--limit-post', '1000', cores=CORES, protocol=protocol)
    with unharmed(running, CORES):
        assert running.get(method='POST', body=b'x' * 1000)[0] == 200
        with running.connect() as connection:
            with contextlib.suppress(OSError):
                connection.sendall(b'POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n' + b'x' * 1001)
            assert closed_by_server(connection) == b''
    assert running.log.count('Invalid (too big) CONTENT_LENGTH. skip.') == 1


@pytest.mark.parametrize('request_of', [uwsgi_request, fastcgi_request, scgi_request], ids=lambda function: function.__name__)
@pytest.mark.parametrize('options', [['--buffer-size', '1024'], ['--limit-post', '1000']], ids=lambda options: options[0])
def test_limits_hold_for_requests_of_web_servers(server, tmp_path, request_of, options):
    """Of headers and of bodies: beyond them a request is not run."""
    path = str(tmp_path / 'socket')
    kind = {uwsgi_request: 'uwsgi', fastcgi_request: 'fastcgi', scgi_request: 'scgi'}[request_of]
    running = server('bad.py', f'--{kind}-socket', path, *options, cores=CORES)
    within = request_of('/read', 'POST', b'x' * 1000)
    beyond = request_of('/read' + ('?' + 'x' * 2000 if options[0] == '--buffer-size' else ''), 'POST', b'x' * 1001)
    with unharmed(running, CORES):
        assert b'hello' in exchange(path, within)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            assert b'hello' not in exchange(path, beyond)


@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_more_headers_than_max_vars_end_the_connection(server, protocol):
    running = server('bad.py', '--max-vars', '30', cores=CORES, protocol=protocol)
    with unharmed(running, CORES):
        assert running.get(headers={f'X-{number}': 'y' for number in range(5)})[0] == 200
        with running.connect() as connection:
            connection.sendall(b'GET / HTTP/1.1\r\n' + b''.join(b'X-%d: y\r\n' % number for number in range(60)) + b'\r\n')
            assert closed_by_server(connection) == b''


@pytest.mark.parametrize('size, status', [(50_000, 200), (200_000, 500)])
def test_chunk_beyond_chunked_input_limit_is_an_error(server, size, status):
    running = server('hostile.py', '--chunked-input-limit', '100000', cores=CORES)
    with unharmed(running, CORES), running.connect() as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(b'POST /whole_chunk HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n' % size + b'x' * size + b'\r\n0\r\n\r\n')
        answer = closed_by_server(connection)
        assert status_of(answer) == status or (status == 500 and answer == b'')  # The rest of the chunk may reset it.


def test_dripping_body_is_ended_by_the_request_timeout(server):
    """Each byte comes in time; the body as a whole does not."""
    running = server('bad.py', '--tornado-request-timeout', '1', cores=CORES)
    with unharmed(running, CORES), contextlib.ExitStack() as stack:
        for connection in stalled_uploads(running, stack, '/read'):
            connection.settimeout(0.05)  # Between two drips.
            deadline, received = time.monotonic() + 20, b''
            while not received and time.monotonic() < deadline:
                with contextlib.suppress(TimeoutError):
                    connection.sendall(b'x')
                    received = connection.recv(100)
            assert status_of(received) == 504


@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_stalled_body_is_an_error_by_socket_timeout(server, protocol):
    running = server('bad.py', '--socket-timeout', '1', cores=CORES, protocol=protocol)
    with unharmed(running, CORES), contextlib.ExitStack() as stack:
        for connection in stalled_uploads(running, stack, '/read'):
            assert status_of(closed_by_server(connection)) == 500
    assert running.log.count('[uwsgi-body-read] Timeout reading 996 bytes') == CORES


def test_stalled_body_is_closed_where_uwsgi_buffers_bodies(server):
    running = server('bad.py', '--socket-timeout', '1', '--post-buffering', '4096', cores=CORES)
    with unharmed(running, CORES), contextlib.ExitStack() as stack:
        for connection in stalled_uploads(running, stack, '/read'):
            assert closed_by_server(connection) == b''


def stalled_uploads(running, stack, path):
    """One for each core, of which only the beginning comes."""
    uploads = [stack.enter_context(running.connect()) for _ in range(CORES)]
    for connection in uploads:
        connection.sendall(b'POST %s HTTP/1.1\r\nContent-Length: 1000\r\n\r\nsome' % path.encode())
    return uploads
