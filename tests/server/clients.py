"""Small clients for the protocols that web servers speak to uWSGI. Each returns the raw response."""
import concurrent.futures
import contextlib
import socket
import struct

from health import read_until
from wire_requests import fastcgi_request, http_request, scgi_request, uwsgi_request


def connect(address):
    """A TCP port or the path of a unix socket."""
    if isinstance(address, int):
        return socket.create_connection(('127.0.0.1', address), timeout=30)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(str(address))
    return connection


def exchange(address, request):
    with connect(address) as connection:
        connection.sendall(request)
        received = b''
        while chunk := connection.recv(65536):
            received += chunk
        return received


def http(address, path, method='GET', body=b''):
    return exchange(address, http_request(path, method, body))


def uwsgi(address, path, method='GET', body=b'', modifier1=0):
    return exchange(address, uwsgi_request(path, method, body, modifier1))


def scgi(address, path, method='GET', body=b''):
    return exchange(address, scgi_request(path, method, body))


def fastcgi(address, path, method='GET', body=b''):
    end, stdout = 3, 6
    received = exchange(address, fastcgi_request(path, method, body))
    response, ended = b'', False
    while received:
        _, kind, _, size, padding, _ = struct.unpack('>BBHHBB', received[:8])
        if kind == stdout:
            response += received[8:8 + size]
        ended = ended or kind == end
        received = received[8 + size + padding:]
    assert ended
    return response


CLIENTS = {'http-socket': http, 'http11-socket': http, 'uwsgi-socket': uwsgi, 'scgi-socket': scgi, 'fastcgi-socket': fastcgi}


def body_of(response):
    return response.split(b'\r\n\r\n', 1)[1]


def at_once(jobs):
    """Runs the functions in a thread each: their results."""
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result(60) for future in [pool.submit(job) for job in jobs]]


WEBSOCKET_HANDSHAKE = (b'GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n'
                       b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n')


@contextlib.contextmanager
def websocket_by_hand(running, path):
    """The connection after the handshake: a client that answers nothing by itself."""
    with running.connect() as connection:
        connection.sendall(WEBSOCKET_HANDSHAKE % path.encode())
        received = read_until(connection, b'\r\n\r\n')
        assert received.startswith(b'HTTP/1.1 101 ') and b's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' in received
        yield connection


def exactly(connection, size):
    received = b''
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        assert chunk
        received += chunk
    return received
