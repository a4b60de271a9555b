"""Responses in every way uWSGI sends them: fifty slow readers, and quick requests beside them."""
import contextlib
import gzip
import hashlib
import socket

import pytest

from clients import body_of
from conftest import EMBEDDED
from health import closed_by_server

READERS = 50
SIZE = 1_000_000


def plugins(*names):
    """Debian has them as files; the embedded binary has them inside."""
    return [] if EMBEDDED else [word for name in names for word in ('--plugin', name)]


X_SENDFILE = [*plugins('router_static'), '--collect-header', 'X-Sendfile FILE', '--response-route-if-not',
              'empty:${FILE} static:${FILE}']


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'file.txt'
    path.write_bytes(hashlib.sha256(b'seed').digest() * (SIZE // 32))
    return path


@pytest.fixture
def start(server, file):
    return lambda *options, cores=READERS + 25, **more: server(
        'transfers.py', '--static-map', f'/static={file.parent}', '--socket-sndbuf', '65536', *options, cores=cores,
        environ={'FILE': str(file)}, **more)


def slow_reader(running, path):
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    reader.settimeout(30)
    reader.connect(('127.0.0.1', running.port))
    reader.sendall(b'GET %s HTTP/1.0\r\n\r\n' % path.encode())
    return reader


WAYS = {
    'file_wrapper': [], 'slow_file_wrapper': [], 'sendfile': [], 'static/file.txt': [], 'x_sendfile': X_SENDFILE,
    'generated': [], 'written': [],
}
OFFLOADED = ['file_wrapper', 'sendfile', 'static/file.txt', 'x_sendfile']


@pytest.mark.smoke
@pytest.mark.parametrize('path, options', [
    *((path, options) for path, options in WAYS.items()),
    *((path, [*WAYS[path], '--offload-threads', '2']) for path in OFFLOADED)],
    ids=[*WAYS, *(path + ' offloaded' for path in OFFLOADED)])
def test_slow_readers_hold_nobody_up(start, file, path, options):
    running = start(*options)
    before = running.descriptors()
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(slow_reader(running, '/' + path)) for _ in range(READERS)]
        for reader in readers:
            assert reader.recv(1) == b'H'  # Every response is under way.
        assert [r[2] for r in running.get_all(['/quick'] * 20)[0]] == [b'quick'] * 20
        for reader in readers[:10]:
            assert body_of(b'H' + closed_by_server(reader)) == file.read_bytes()
    assert running.get('/quick')[2] == b'quick'  # Forty readers left in the middle.
    running.wait_for_log('=> generated', count=READERS + 21)
    if '--offload-threads' not in options:
        assert running.descriptors() <= before + 1


@pytest.mark.parametrize('path', OFFLOADED)
def test_offload_threads_free_the_cores(start, file, path):
    """Two cores are enough for fifty readers who do not read."""
    running = start(*WAYS[path], '--offload-threads', '1', cores=2)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(slow_reader(running, '/' + path)) for _ in range(READERS)]
        assert running.get('/quick')[2] == b'quick'
        for reader in readers:
            assert body_of(closed_by_server(reader)) == file.read_bytes()


@pytest.mark.parametrize('path', OFFLOADED)
@pytest.mark.parametrize('options', [[], ['--offload-threads', '1']], ids=['', 'offloaded'])
def test_files_over_http11_sockets(start, file, path, options):
    running = start(*WAYS[path], *options, protocol='http11-socket', cores=3)
    for _ in range(9):
        assert running.get('/' + path)[2] == file.read_bytes()


@pytest.mark.parametrize('ranges, status, part', [
    ('bytes=0-9', 206, slice(0, 10)), ('bytes=100-', 206, slice(100, None)), ('bytes=-5', 206, slice(-5, None)),
    ('bytes=9999999-', 416, slice(0, 0)), ('lines=1-2', 416, slice(0, 0))])
@pytest.mark.parametrize('options', [[], ['--offload-threads', '1']], ids=['', 'offloaded'])
def test_ranges_of_static_files(start, file, ranges, status, part, options):
    running = start('--honour-range', *options)
    got, headers, body = running.get('/static/file.txt', headers={'Range': ranges})
    assert (got, body) == (status, file.read_bytes()[part])
    assert headers.get('Content-Range', '').endswith(f'/{file.stat().st_size}')


def test_static_files_of_head_and_conditional_requests(start, file):
    running = start()
    status, headers, body = running.get('/static/file.txt', 'HEAD')
    assert (status, headers['Content-Length'], body) == (200, str(file.stat().st_size), b'')
    with running.connect() as client:
        client.sendall(b'HEAD /static/file.txt HTTP/1.0\r\n\r\n')
        assert body_of(closed_by_server(client)) == b''
    modified = {'If-Modified-Since': headers['Last-Modified']}
    assert running.get('/static/file.txt', headers=modified)[0] == 304
    assert running.get('/static/none.txt')[0] == 500  # It falls through to the application, which has none.


TRANSFORMATIONS = {
    'chunked': ['--route-run', 'chunked:'],
    'gzip': ['--route-run', 'gzip:'],
    'gzip and chunked': ['--route-run', 'gzip:', '--route-run', 'chunked:'],
}


@pytest.mark.parametrize('path', ['generated', 'written', 'slow_file_wrapper'])
@pytest.mark.parametrize('name', TRANSFORMATIONS)
def test_transformations_of_responses_that_wait(start, file, path, name):
    """Thirty at once, each compressed and cut by itself."""
    running = start(*plugins('transformation_gzip', 'transformation_chunked'), *TRANSFORMATIONS[name])
    results, _ = running.get_all([f'/{path}'] * 30 + ['/quick'] * 20)
    for number, (status, headers, body) in enumerate(results):
        assert status == 200
        assert ('chunked' in name) == (headers.get('Transfer-Encoding') == 'chunked')
        assert ('gzip' in name) == (headers.get('Content-Encoding') == 'gzip')
        expected = file.read_bytes() if number < 30 else b'quick'
        assert (gzip.decompress(body) if 'gzip' in name else body) == expected
