"""What an application asks of uWSGI while it serves: its input, its output, its async API."""
import hashlib
import os
import socket
import time

import uwsgi

HEADERS = [('Content-Type', 'text/plain')]
uwsgi.register_rpc('twice', lambda word: word * 2)


def hello(environ, start_response):
    start_response('200 OK', HEADERS)
    return [b'hello']


def wait(environ, start_response):
    time.sleep(float(environ['QUERY_STRING']))
    return hello(environ, start_response)


def digest(environ, start_response, pieces):
    sha = hashlib.sha256()
    for piece in pieces:
        sha.update(piece)
    start_response('200 OK', HEADERS)
    return [sha.hexdigest().encode()]


def upload_read(environ, start_response):
    source = environ['wsgi.input']
    return digest(environ, start_response, iter(lambda: source.read(int(environ['QUERY_STRING'] or 0)), b''))


def upload_lines(environ, start_response):
    return digest(environ, start_response, iter(environ['wsgi.input'].readline, b''))


def download(environ, start_response):
    size = int(environ['QUERY_STRING'])
    start_response('200 OK', HEADERS + [('Content-Length', str(size))])
    return [b'x' * size]


def steps(environ, start_response):
    """Ten chunks with a wait before each."""
    start_response('200 OK', HEADERS)
    for number in range(10):
        time.sleep(float(environ['QUERY_STRING']))
        yield b'%d ' % number


def endless(environ, start_response):
    start_response('200 OK', HEADERS)
    while True:
        yield b'chunk'


def empty_yields(environ, start_response):
    start_response('200 OK', HEADERS)
    for _ in range(1000):
        yield b''
    yield b'done'


def wait_fd(environ, start_response):
    """Which waits on descriptors came, and which timed out, as uWSGI's documentation has it."""
    quiet, _quiet_peer = socket.socketpair()
    ready, ready_peer = socket.socketpair()
    ready_peer.send(b'1')
    start_response('200 OK', HEADERS)
    said = []
    for sock, wait in ((quiet, uwsgi.wait_fd_read), (ready, uwsgi.wait_fd_read), (quiet, uwsgi.wait_fd_write),
                       (quiet, uwsgi.wait_fd_read), (ready, uwsgi.wait_fd_read)):
        wait(sock.fileno(), 1)
        yield b''
        timed_out = environ['x-wsgiorg.fdevent.timeout']
        fd = environ['uwsgi.ready_fd']
        said.append('timeout' if timed_out else 'ready' if fd == sock.fileno() else f'spurious {fd}')
    yield ' '.join(said).encode()


def wait_fd_suspend(environ, start_response):
    """The same without a yield: uwsgi.suspend() goes back to the loop."""
    quiet, peer = socket.socketpair()
    start_response('200 OK', HEADERS)
    started = time.monotonic()
    uwsgi.wait_fd_read(quiet.fileno(), 1)
    uwsgi.suspend()
    first = time.monotonic() - started
    peer.send(b'1')
    uwsgi.wait_fd_read(quiet.fileno(), 30)
    uwsgi.suspend()
    return [f'{first > 0.9} {uwsgi.ready_fd() == quiet.fileno()} {time.monotonic() - started < 10}'.encode()]


def timeout_unseen(environ, start_response):
    """A wait times out under suspend(), where nobody looks; the next one is ready."""
    quiet, _peer = socket.socketpair()
    start_response('200 OK', HEADERS)
    uwsgi.wait_fd_read(quiet.fileno(), 1)
    uwsgi.suspend()
    uwsgi.wait_fd_write(quiet.fileno(), 30)
    yield b''
    yield str(environ['x-wsgiorg.fdevent.timeout']).encode()


def fdevent(environ, start_response):
    """PEP 333's extension for asynchronous servers."""
    quiet, peer = socket.socketpair()
    start_response('200 OK', HEADERS)
    yield environ['x-wsgiorg.fdevent.readable'](quiet.fileno(), 1)
    yield str(bool(environ['x-wsgiorg.fdevent.timeout'])).encode()
    yield environ['x-wsgiorg.fdevent.writable'](quiet.fileno(), 1)
    yield str(bool(environ['x-wsgiorg.fdevent.timeout'])).encode()


def async_sleep(environ, start_response):
    start_response('200 OK', HEADERS)
    uwsgi.async_sleep(1)
    yield b''
    yield b'slept'


def wait_and_leave(environ, start_response):
    """Ends without having waited for what it asked."""
    quiet, _peer = socket.socketpair()
    uwsgi.wait_fd_read(quiet.fileno(), 30)
    start_response('200 OK', HEADERS)
    return b'hello'  # uWSGI takes bytes; a list would be iterated, and the wait come first.


def suspends(environ, start_response):
    for _ in range(100):
        uwsgi.suspend()
    return hello(environ, start_response)


def rpc(environ, start_response):
    answer = uwsgi.rpc(environ['QUERY_STRING'].encode() or None, b'twice', b'ab')
    start_response('200 OK', HEADERS)
    return [answer]


def exits():
    raise SystemExit('in an RPC')


uwsgi.register_rpc('exits', exits)


def exiting_rpc(environ, start_response):
    start_response('200 OK', HEADERS)
    return [b'an answer' if uwsgi.rpc(None, b'exits') else b'no answer']


def slow_rpc(environ, start_response):
    answer = uwsgi.rpc(environ['QUERY_STRING'].encode(), b'slowly')
    start_response('200 OK', HEADERS)
    return [answer]


def slowly():
    time.sleep(0.3)
    return b'slow'


uwsgi.register_rpc('slowly', slowly)


def identity(environ, start_response):
    """Whether what uWSGI calls the current request is mine, after each kind of wait."""
    start_response('200 OK', HEADERS)
    mine = environ['QUERY_STRING']
    right = []
    for wait in (lambda: time.sleep(0.01), uwsgi.suspend, lambda: time.sleep(0)):
        wait()
        right.append(uwsgi.env['QUERY_STRING'] == mine and uwsgi.env is environ)
        right.append(uwsgi.connection_fd() == environ['wsgi.input'].fileno())
        yield b''
        right.append(uwsgi.env is environ)
    yield str(all(right)).encode()


def set_logvar(environ, start_response):
    """Acts on the current request after a wait."""
    time.sleep(0.02)
    uwsgi.set_logvar('who', environ['QUERY_STRING'])
    return [uwsgi.get_logvar('who')] if hello(environ, start_response) else []


def pid(environ, start_response):
    start_response('200 OK', HEADERS)
    return [str(os.getpid()).encode()]


def application(environ, start_response):
    return globals()[environ['PATH_INFO'].strip('/') or 'hello'](environ, start_response)
