"""Bodies of requests in every way uWSGI reads them: fifty that drip, and quick requests beside them."""
import contextlib
import hashlib
import time

import pytest

from clients import body_of, connect
from conftest import EMBEDDED, free_port
from health import closed_by_server, read_until

HTTP = [] if EMBEDDED else ['--plugin', 'http']
BODY = b''.join(b'line %d of a body\n' % number for number in range(2000))
ANSWER = hashlib.sha256(BODY).hexdigest().encode()
UPLOADS = 50


@pytest.fixture
def start(server):
    return lambda *options, **more: server('transfers.py', *options, cores=UPLOADS + 25, **more)


def plain(path):
    return b'POST /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n' % (path.encode(), len(BODY)) + BODY


def in_chunks(path, size=3000):
    pieces = [BODY[at:at + size] for at in range(0, len(BODY), size)] + [b'']
    return b'POST /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n' % path.encode() + b''.join(
        b'%x\r\n%s\r\n' % (len(piece), piece) for piece in pieces)


def drip(running, request, port=None, pieces=6):
    """UPLOADS clients send the request piece by piece; quick requests are served between the pieces."""
    size = len(request) // pieces + 1
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(port or running.port)) for _ in range(UPLOADS)]
        for at in range(0, len(request), size):
            for client in clients:
                client.sendall(request[at:at + size])
            assert [running.get('/quick')[2] for _ in range(4)] == [b'quick'] * 4
        return [body_of(closed_by_server(client)) for client in clients]


@pytest.mark.smoke
@pytest.mark.parametrize('path', ['read_all', 'read_some', 'readline', 'lines'])
@pytest.mark.parametrize('options', [[], ['--post-buffering', '1000'], ['--post-buffering', '1000000']],
                         ids=['', 'buffered on disk', 'buffered in memory'])
def test_dripping_uploads_hold_nobody_up(start, path, options):
    running = start(*options)
    assert drip(running, plain(path)) == [ANSWER] * UPLOADS


@pytest.mark.parametrize('path', ['chunked', 'chunked_nb'])
@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_dripping_chunked_uploads_hold_nobody_up(start, path, protocol):
    running = start(protocol=protocol)
    assert drip(running, in_chunks(path)) == [ANSWER] * UPLOADS


def test_uploads_through_the_router(start, tmp_path):
    port = free_port()
    running = start(*HTTP, '--master', '--http', f'127.0.0.1:{port}', '--http-chunked-input',
                    '--http-to', str(tmp_path / 'behind'), '--socket', str(tmp_path / 'behind'))
    for request in (plain('read_all'), in_chunks('chunked')):
        assert drip(running, request, port) == [ANSWER] * UPLOADS


def test_chunked_upload_that_stalls_times_out_alone(start):
    running = start()
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(running.connect()) for _ in range(UPLOADS)]
        for client in clients:
            client.sendall(in_chunks('chunked_timeout')[:5000])
        assert [r[2] for r in running.get_all(['/quick'] * 20)[0]] == [b'quick'] * 20
        assert [body_of(closed_by_server(client)) for client in clients] == [b'quick'] * UPLOADS
    assert running.log.count('chunked: unable to receive chunked part') == UPLOADS
    assert time.monotonic() - started < UPLOADS * 1 / 5


def test_broken_chunks_harm_nobody(start):
    running = start()
    for _ in range(10):
        with running.connect() as client:
            client.sendall(b'POST /chunked HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n')
            assert b'500 Internal' in closed_by_server(client)
    assert running.get('/quick')[2] == b'quick'


def test_client_that_expects_100_continue_is_told_by_the_router(start, tmp_path):
    """The router says so; uWSGI's own HTTP sockets do not, and the client sends after a while."""
    port = free_port()
    start(*HTTP, '--master', '--http', f'127.0.0.1:{port}', f'--http-manage-expect={len(BODY)}',
          '--http-to', str(tmp_path / 'behind'), '--socket', str(tmp_path / 'behind'))
    head = plain('read_all')[:-len(BODY)].replace(b'\r\n\r\n', b'\r\nExpect: 100-continue\r\n\r\n')
    with connect(port) as client:
        client.sendall(head)
        assert read_until(client, b'\r\n\r\n') == b'HTTP/1.1 100 Continue\r\n\r\n'
        client.sendall(BODY)
        assert body_of(closed_by_server(client)) == ANSWER
    with connect(port) as client:
        client.sendall(head.replace(b'Content-Length: ', b'Content-Length: 9'))
        assert b' 413 ' in closed_by_server(client)
