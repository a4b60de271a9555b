"""A request whose client has gone is ended where it waits, where that was asked for."""
import contextlib
import socket

import pytest

import clients
from conftest import EMBEDDED, ask, free_port

WATCHED = ('--tornado-client-disconnect',)
KINDS = ['recv', 'sleep', 'lock', 'queue', 'requests', 'await', 'fetch', 'suspend', 'subprocess']


@pytest.fixture
def watched(server, upstream):
    def start(*options, environ=None, **more):
        return server('interrupted.py', *(options or WATCHED), environ={'UPSTREAM_PORT': str(upstream.port), **(environ or {})}, **more)
    return start


def ask_and_leave(running, path, count=1, more=b''):
    """Asks, waits until the request waits, and closes the connection."""
    with contextlib.ExitStack() as clients:
        connections = [clients.enter_context(running.connect()) for _ in range(count)]
        for connection in connections:
            connection.sendall(b'GET %s HTTP/1.1\r\nHost: x\r\n\r\n%s' % (path.encode(), more))
        running.wait_for_log('app: waits in ' + path.strip('/'), count=count)


@pytest.mark.parametrize('kind', KINDS)
def test_request_is_told_in_whatever_wait_it_is(watched, kind):
    running = watched()
    ask_and_leave(running, f'/{kind}')
    running.wait_for_log(f'GET /{kind} => generated 0 bytes')
    assert running.get('/quick')[2] == b'quick'
    assert 'Traceback' not in running.log  # Nobody is to be told of what happens every day.


@pytest.mark.smoke
def test_only_those_who_left_are_ended(watched):
    running = watched('--tornado-client-disconnect', '--tornado-request-timeout', '2')
    with running.connect() as stays:
        stays.sendall(b'GET /caught/sleep HTTP/1.0\r\n\r\n')
        ask_and_leave(running, '/sleep', count=20)
        running.wait_for_log('GET /sleep => generated 0 bytes', count=20)
        assert b'RequestTimeout: GET /caught/sleep' in stays.makefile('rb').read()


def test_close_of_an_earlier_connection_that_a_child_kept_open_ends_nobody(watched):
    running = watched(cores=2)
    with running.connect() as earlier, running.connect() as later:
        earlier.sendall(b'GET /forks HTTP/1.0\r\n\r\n')
        received = b''
        while not received.endswith(b'forked'):
            received += earlier.recv(1000)
        running.wait_for_log('GET /forks => generated')
        later.sendall(b'GET /waits_for_release HTTP/1.0\r\n\r\n')  # On the same core, which was freed last.
        running.wait_for_log('app: waits for its release')
        earlier.close()
        assert running.get('/quick')[2] == b'quick'  # The turn that hears of the close.
        assert running.get('/releases')[2] == b'releases'
        assert later.makefile('rb').read().endswith(b'released')


def test_bytes_of_the_next_request_are_no_close(watched):
    running = watched('--tornado-client-disconnect', '--tornado-request-timeout', '0.5', protocol='http11-socket')
    with running.connect() as client:
        client.sendall(b'GET /caught/sleep HTTP/1.1\r\nHost: x\r\n\r\nGET /quick HTTP/1.1\r\n')
        answer = client.makefile('rb').readline()
        assert b' 200 ' in answer
    running.wait_for_log('GET /caught/sleep => generated')
    assert 'ClientDisconnected' not in running.log


def test_close_is_seen_behind_bytes_that_nobody_reads(watched):
    running = watched()
    ask_and_leave(running, '/sleep', more=b'GET /quick HTTP/1.1\r\n\r\n')
    running.wait_for_log('GET /sleep => generated 0 bytes')


def test_behind_the_http_router(watched):
    front = free_port()
    running = watched(*([] if EMBEDDED else ['--plugin', 'http']), *WATCHED, '--master', '--http', f'127.0.0.1:{front}',
                      protocol='uwsgi-socket')
    with clients.connect(front) as client:
        client.sendall(b'GET /sleep HTTP/1.0\r\n\r\n')
        running.wait_for_log('app: waits in sleep')
    running.wait_for_log('GET /sleep => generated 0 bytes')


def test_not_without_being_asked_for(watched):
    running = watched('--tornado-request-timeout', '0.5')
    ask_and_leave(running, '/sleep')
    running.wait_for_log('uwsgi_tornado.RequestTimeout: GET /sleep')


def test_route_asks_for_it(watched):
    running = watched('--route', '^/sleep addvar:uwsgi_tornado.client_disconnect=1', '--tornado-request-timeout', '1')
    ask_and_leave(running, '/sleep')
    running.wait_for_log('GET /sleep => generated 0 bytes')
    ask_and_leave(running, '/recv')
    running.wait_for_log('uwsgi_tornado.RequestTimeout: GET /recv')


def test_route_does_without_it(watched):
    running = watched(*WATCHED, '--route', '^/sleep addvar:uwsgi_tornado.client_disconnect=0', '--tornado-request-timeout', '1')
    ask_and_leave(running, '/sleep')
    running.wait_for_log('uwsgi_tornado.RequestTimeout: GET /sleep')


def test_streams_iterable_is_closed(watched):
    running = watched()
    with running.connect() as client:
        client.sendall(b'GET /stream HTTP/1.0\r\n\r\n')
        assert client.makefile('rb').read(len(b'HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nbegun\n')).endswith(b'begun\n')
    running.wait_for_log('app: closed')


def test_application_may_ask(watched):
    running = watched('--master')
    with running.connect() as client:
        client.sendall(b'POST /connected HTTP/1.0\r\nContent-Length: 1\r\n\r\nx and more')
        running.wait_for_log('app: connected: True')
    running.wait_for_log('app: left')


def test_kept_connection_is_watched_for_each_request(watched):
    running = watched(protocol='http11-socket')
    with running.connect() as client:
        for _ in range(3):
            assert ask(client, '/quick') == (200, b'quick')
        client.sendall(b'GET /sleep HTTP/1.1\r\nHost: x\r\n\r\n')
        running.wait_for_log('app: waits in sleep')
        client.shutdown(socket.SHUT_RDWR)
    running.wait_for_log('GET /sleep => generated 0 bytes')
