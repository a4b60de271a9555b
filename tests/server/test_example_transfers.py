"""examples/transfers: peers that send and read slowly hold a core each, and nobody up; those that stall are ended."""
import contextlib
import hashlib
import socket

import pytest

from clients import body_of
from conftest import ROOT
from health import closed_by_server

SLOW = 25
QUICK = 20
BODY = b''.join(b'line %d of a body\n' % number for number in range(20000))
STORED = f'{hashlib.sha256(BODY).hexdigest()} {len(BODY)}\n'.encode()
DOWNLOAD = bytes(range(256)) * 8192
LITTLE = 16 * 1024
HEAD = b'%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n'
GENERATED = HEAD % (b'GET /generated?%d' % len(DOWNLOAD), b'')


@pytest.fixture
def start(server, tmp_path):
    def run(*options):
        # The kernel would keep much of a download for a reader that does not read.
        return server(None, '--master', '--ini', str(ROOT / 'examples' / 'transfers' / 'uwsgi.ini'), '--socket-sndbuf', str(LITTLE),
                      *options, environ={'UPLOADS': str(tmp_path)})
    return run


def with_length(name):
    return HEAD % (b'PUT /files/%s' % name, b'Content-Length: %d\r\n' % len(BODY)) + BODY


def in_chunks(name, size=30000):
    pieces = [BODY[at:at + size] for at in range(0, len(BODY), size)] + [b'']
    return HEAD % (b'PUT /files/%s' % name, b'Transfer-Encoding: chunked\r\n') + b''.join(
        b'%x\r\n%s\r\n' % (len(piece), piece) for piece in pieces)


@contextlib.contextmanager
def reader(running, request=GENERATED):
    """One that has read the head of the response, and then reads no more."""
    with socket.socket() as client:
        client.settimeout(30)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
        client.connect(('127.0.0.1', running.port))
        client.sendall(request)
        assert client.recv(15).startswith(b'HTTP/1.')
        yield client


def assert_others_are_served(running):
    results, _ = running.get_all(['/'] * QUICK)
    assert [result[0] for result in results] == [200] * QUICK


@pytest.mark.smoke
def test_slow_peers_hold_nobody_up(start):
    running = start()
    requests = [(with_length, in_chunks)[number % 2](b'slow%d' % number) for number in range(SLOW)]
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(reader(running)) for _ in range(SLOW)]
        senders = [stack.enter_context(running.connect()) for _ in range(SLOW)]
        for at in range(3):
            for sender, request in zip(senders, requests):
                third = len(request) // 3 + 1
                sender.sendall(request[at * third:(at + 1) * third])
            if at < 2:
                assert_others_are_served(running)
        assert [body_of(closed_by_server(sender)) for sender in senders] == [STORED] * SLOW
        assert_others_are_served(running)
        for client in readers:
            assert body_of(closed_by_server(client)) == DOWNLOAD


def test_what_was_uploaded_is_downloaded_again(start):
    running = start()
    for request_for in with_length, in_chunks:
        with running.connect() as sender:
            sender.sendall(request_for(b'report.txt'))
            assert body_of(closed_by_server(sender)) == STORED
        with reader(running, HEAD % (b'GET /files/report.txt', b'')) as slow:
            assert_others_are_served(running)
            assert body_of(closed_by_server(slow)) == BODY


def test_peers_that_stall_are_ended(start, tmp_path):
    """They have every core: who comes then is served once they have been ended."""
    running = start('--tornado', '4', '--tornado-overload-wait', '60', '--socket-timeout', '1')
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(reader(running)) for _ in range(2)]
        senders = [stack.enter_context(running.connect()) for _ in range(2)]
        for sender, request in zip(senders, (with_length(b'stalled'), in_chunks(b'stalled'))):
            sender.sendall(request[:len(request) // 2])
        assert running.get('/')[0] == 200
        assert 'async cores set to 4 ' in running.log
        running.wait_for_log('GET /generated.* => generated', count=2)  # Before one of them is read after all.
        for sender in senders:
            assert closed_by_server(sender).startswith(b'HTTP/1.1 408 ')
        for client in readers:
            # What the kernel had taken, and no more.
            assert len(closed_by_server(client)) < len(DOWNLOAD)
    assert [file.name for file in tmp_path.iterdir() if 'stalled' in file.name or file.name.startswith('.upload')] == []


def test_a_client_that_leaves_in_the_middle_leaves_no_file(start, tmp_path):
    running = start()
    with running.connect() as sender:
        sender.sendall(with_length(b'left')[:-1000])
    running.wait_for_log('upload of left: ')
    assert running.get('/files/left')[0] == 404
    assert list(tmp_path.glob('.upload*')) == []


def test_a_body_beyond_the_limit_is_not_read(start):
    running = start('--limit-post', str(len(BODY) - 1))
    with running.connect() as sender:
        with contextlib.suppress(ConnectionError):
            sender.sendall(with_length(b'large'))
        assert b' 201 ' not in closed_by_server(sender)
    assert running.get('/files/large')[0] == 404


def test_names_that_are_none_are_not_here(start):
    running = start()
    for path in '/files/', '/files/.upload', '/files/a/b', '/elsewhere', '/%2e%2e/etc/passwd':
        for method in 'GET', 'PUT':
            assert running.get(path, method)[::2] == (404, b'not here\n')
