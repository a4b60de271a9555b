"""uWSGI's async API (core/async.c), used every way: requests that ask for descriptors and timeouts."""
import ctypes
import os
import socket
import threading
import time

import uwsgi
import uwsgi_tornado

HEADERS = [('Content-Type', 'text/plain')]
waiting = []  # What the requests that wait wait for; closed by /release.
everybody = threading.Event()


def hello(environ, start_response):
    start_response('200 OK', HEADERS)
    return [b'hello']


def count(environ, start_response):
    start_response('200 OK', HEADERS)
    return [str(len(waiting)).encode()]


def release(environ, start_response):
    for peer in waiting:
        peer.close()
    waiting.clear()
    return hello(environ, start_response)


def quiet_socket():
    """One that is ready for reading after /release, and never for writing before it."""
    mine, peer = socket.socketpair()
    mine.setblocking(False)
    try:
        while True:
            mine.send(bytes(65536))
    except BlockingIOError:
        pass
    waiting.append(peer)
    return mine


def ready_fd(environ):
    """A yield moves what uwsgi.ready_fd() tells into the environ, suspend() leaves it."""
    return environ.get('uwsgi.ready_fd') or uwsgi.ready_fd()


def verdict(environ, sock):
    ready = ready_fd(environ) == sock.fileno()
    return b'ready' if ready else b'resumed by nothing'


# --- Each way to wait, without a timeout ---

def wait_fd_read(environ, start_response):
    sock = quiet_socket()
    start_response('200 OK', HEADERS)
    uwsgi.wait_fd_read(sock.fileno())
    yield b''
    yield verdict(environ, sock)


def wait_fd_write(environ, start_response):
    sock = quiet_socket()
    start_response('200 OK', HEADERS)
    uwsgi.wait_fd_write(sock.fileno())
    yield b''
    yield verdict(environ, sock)


def fdevent_readable(environ, start_response):
    sock = quiet_socket()
    start_response('200 OK', HEADERS)
    yield environ['x-wsgiorg.fdevent.readable'](sock.fileno())
    yield verdict(environ, sock)


def fdevent_writable(environ, start_response):
    sock = quiet_socket()
    start_response('200 OK', HEADERS)
    yield environ['x-wsgiorg.fdevent.writable'](sock.fileno())
    yield verdict(environ, sock)


def suspend(environ, start_response):
    sock = quiet_socket()
    uwsgi.wait_fd_read(sock.fileno())
    uwsgi.suspend()
    start_response('200 OK', HEADERS)
    return [verdict(environ, sock)]


def with_yields(environ, start_response):
    """Yields before and after, that go round the loop, and one that only sends."""
    start_response('200 OK', HEADERS)
    yield b''
    yield b''
    sock = quiet_socket()
    uwsgi.wait_fd_read(sock.fileno(), 30)
    yield b''
    said = verdict(environ, sock)
    yield b''
    yield said


# --- Timeouts ---

def time_out(environ, start_response):
    """What one of the ways says of a descriptor that is not ready within a second, twice."""
    sock = quiet_socket()
    peer = waiting.pop()
    asks = (uwsgi.wait_fd_read, uwsgi.wait_fd_write,
            environ['x-wsgiorg.fdevent.readable'], environ['x-wsgiorg.fdevent.writable'])
    ask = asks[int(environ['QUERY_STRING'])]
    start_response('200 OK', HEADERS)
    ask(sock.fileno(), 1)
    yield b''
    said = f"{environ['x-wsgiorg.fdevent.timeout']} {ready_fd(environ)}"
    ask(sock.fileno(), 1)
    peer.close()
    yield b''
    yield f"{said}, {environ['x-wsgiorg.fdevent.timeout']} {ready_fd(environ) == sock.fileno()}".encode()


def async_sleep(environ, start_response):
    """How long a sleep of that many seconds takes."""
    started = time.monotonic()
    start_response('200 OK', HEADERS)
    uwsgi.async_sleep(float(environ['QUERY_STRING']))
    yield b''
    yield f'{time.monotonic() - started:.3f}'.encode()


def async_sleep_suspend(environ, start_response):
    started = time.monotonic()
    uwsgi.async_sleep(float(environ['QUERY_STRING']))
    uwsgi.suspend()
    start_response('200 OK', HEADERS)
    return [f'{time.monotonic() - started:.3f}'.encode()]


def first_timeout_counts(environ, start_response):
    """As in uWSGI: a request has one timeout, the first it asked for."""
    started = time.monotonic()
    for seconds in (0.2, 30):
        uwsgi.async_sleep(seconds)
    uwsgi.suspend()
    uwsgi.async_sleep(0)
    uwsgi.async_sleep(-1)
    uwsgi.suspend()
    start_response('200 OK', HEADERS)
    return [f'{time.monotonic() - started:.3f}'.encode()]


# --- Several descriptors ---

def several(environ, start_response):
    """Of three, the one that is ready; then none of the others is waited for any more."""
    pairs = [socket.socketpair() for _ in range(3)]
    start_response('200 OK', HEADERS)
    said = []
    for number in (1, 0, 2):
        for sock, _ in pairs:
            uwsgi.wait_fd_read(sock.fileno(), 30)
        pairs[number][1].send(b'x')
        yield b''
        said.append(str(ready_fd(environ) == pairs[number][0].fileno()))
        pairs[number][0].recv(1)
    yield ' '.join(said).encode()


def asked_and_left(environ, start_response):
    """Ready while the request does something else, and no more when it waits: it does not count."""
    (left, left_peer), (wanted, wanted_peer) = socket.socketpair(), socket.socketpair()
    uwsgi.wait_fd_read(left.fileno())
    left_peer.send(b'x')
    cpu = time.process_time()
    time.sleep(0.3)
    cpu = time.process_time() - cpu
    left.recv(1)
    threading.Timer(0.1, wanted_peer.send, [b'x']).start()
    uwsgi.wait_fd_read(wanted.fileno(), 30)
    uwsgi.suspend()
    first = uwsgi.ready_fd() == wanted.fileno()
    uwsgi.wait_fd_read(left.fileno())
    left_peer.send(b'x')
    time.sleep(0.05)
    uwsgi.suspend()
    start_response('200 OK', HEADERS)
    return [f'{first} {uwsgi.ready_fd() == left.fileno()} {cpu < 0.15}'.encode()]


def either(environ, start_response):
    """uwsgi.wait_read2_hook, from C: 1 and the ready one of two, or 0."""
    library = ctypes.PyDLL(os.environ['EITHER'])
    (first, first_peer), (second, second_peer) = socket.socketpair(), socket.socketpair()
    chosen = {'first': first_peer, 'second': second_peer}.get(environ['QUERY_STRING'])
    if chosen:
        waiting.append(chosen)
    ready = ctypes.c_int(-1)
    status = library.wait_for_either(first.fileno(), second.fileno(), 30 if chosen else 1, ctypes.byref(ready))
    name = {first.fileno(): 'first', second.fileno(): 'second'}.get(ready.value)
    start_response('200 OK', HEADERS)
    return [f'{status} {name}'.encode()]


# --- Connections ---

def async_connect(environ, start_response):
    """The program of uWSGI's documentation: connects, sends and receives, waiting for each."""
    start_response('200 OK', HEADERS)
    fd = uwsgi.async_connect(environ['QUERY_STRING'])
    uwsgi.wait_fd_write(fd, 30)
    yield b''
    uwsgi.send(fd, b'GET / HTTP/1.0\r\n\r\n')
    uwsgi.wait_fd_read(fd, 30)
    yield b''
    answer = uwsgi.recv(fd, 4096)
    uwsgi.close(fd)
    yield answer.split()[1]


def connection_fd(environ, start_response):
    """What the client sends after its request, waited for on the connection itself."""
    fd = uwsgi.connection_fd()
    start_response('200 OK', HEADERS)
    yield b'go on\n'
    uwsgi.wait_fd_read(fd, 30)
    yield b''
    timed_out = environ['x-wsgiorg.fdevent.timeout']
    yield b'timeout' if timed_out else uwsgi.recv(fd)


def spawned(environ, start_response):
    """The same API outside any request: on virtual threads."""
    def work():
        sock, peer = socket.socketpair()
        started = time.monotonic()
        uwsgi.async_sleep(0.2)
        uwsgi.suspend()
        slept = time.monotonic() - started
        threading.Timer(0.1, peer.send, [b'x']).start()
        uwsgi.wait_fd_read(sock.fileno(), 30)
        uwsgi.suspend()
        return slept, sock.recv(1, socket.MSG_DONTWAIT) == b'x' and uwsgi.ready_fd() == sock.fileno()

    slept, right = zip(*(future.result() for future in [uwsgi_tornado.spawn(work) for _ in range(20)]))
    start_response('200 OK', HEADERS)
    return [f'{min(slept):.3f} {all(right)}'.encode()]


def application(environ, start_response):
    return globals()[environ['PATH_INFO'].strip('/') or 'hello'](environ, start_response)
