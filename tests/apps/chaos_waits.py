"""Waits of every kind that end by themselves in `delay_s`, each with what the request handed in: wait_x(own, delay_s)
gives `own` back the way it came, and anything else is another's."""
import asyncio
import concurrent.futures
import contextlib
import fcntl
import functools
import heapq
import itertools
import multiprocessing
import os
import queue
import select
import selectors
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import requests
import uwsgi
import uwsgi_tornado

LONG_S = 60
UPSTREAM = f'http://127.0.0.1:{os.environ.get("UPSTREAM_PORT")}'


class Feeder:
    """A real thread that does what it was asked to, when it was asked to."""

    def __init__(self):
        self.asked, self.changed, self.numbers = [], threading.Condition(), itertools.count()
        threading.Thread(target=self.feed, daemon=True).start()

    def later(self, delay_s, function, *arguments):
        with uwsgi_tornado.shield(), self.changed:  # What was promised is done, or descriptors would be left.
            heapq.heappush(self.asked, (time.monotonic() + delay_s, next(self.numbers), function, arguments))
            self.changed.notify()

    def feed(self):
        while True:
            with self.changed:
                while not self.asked or self.asked[0][0] > time.monotonic():
                    self.changed.wait(self.asked[0][0] - time.monotonic() if self.asked else None)
                _, _, function, arguments = heapq.heappop(self.asked)
            with contextlib.suppress(OSError):  # Who waited has gone meanwhile.
                function(*arguments)


feeder = Feeder()
processes = multiprocessing.get_context('fork')
pool = concurrent.futures.ThreadPoolExecutor(8)
lock_file = tempfile.NamedTemporaryFile()


@contextlib.contextmanager
def fed(own, delay_s):
    """A socket to which the number comes."""
    ours, theirs = socket.socketpair()
    # The feeder closes its end: closed here, in the middle of its call, the number could be another request's by then.
    feeder.later(delay_s, send_and_close, theirs, b'%d\n' % own)
    with ours:
        yield ours


def send_and_close(line, data):
    with line:
        line.sendall(data)


def number_from(receive):
    """However short the pieces are."""
    received = b''
    while not received.endswith(b'\n'):
        piece = receive(100)
        if not piece:
            raise EOFError
        received += piece
    return int(received)


def wait_sleep(own, delay_s):
    time.sleep(delay_s)
    return own


def wait_recv(own, delay_s):
    with fed(own, delay_s) as line:
        return number_from(line.recv)


def wait_timed_recv(own, delay_s):
    with fed(own, delay_s) as line:
        line.settimeout(LONG_S)
        return number_from(line.recv)


def wait_recv_timeout(own, delay_s):
    line, silent = socket.socketpair()
    with line, silent:
        line.settimeout(delay_s)
        with contextlib.suppress(TimeoutError):
            line.recv(100)
            raise AssertionError('bytes that nobody sent')
    return own


def wait_file_of_socket(own, delay_s):
    with fed(own, delay_s) as line, line.makefile('rb') as file:
        return int(file.readline())


def wait_send(own, delay_s):
    ours, theirs = socket.socketpair()
    feeder.later(delay_s, drain_and_close, theirs)
    with ours:
        ours.sendall(bytes(1 << 20))
    return own


def drain_and_close(line):
    with line:
        while line.recv(1 << 20):
            pass


def wait_accept(own, delay_s):
    with socket.create_server(('127.0.0.1', 0)) as listener:
        def call():
            with socket.create_connection(listener.getsockname(), 1) as line:
                line.sendall(b'%d\n' % own)

        feeder.later(delay_s, call)
        with listener.accept()[0] as line:
            return number_from(line.recv)


def wait_pipe(own, delay_s):
    reader, writer = os.pipe()
    feeder.later(delay_s, write_and_close, writer, b'%d\n' % own)
    try:
        return number_from(functools.partial(os.read, reader))
    finally:
        os.close(reader)


def write_and_close(fd, data):
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def wait_select(own, delay_s):
    with fed(own, delay_s) as line:
        select.select([line], [], [], LONG_S)
        return number_from(line.recv)


def wait_poll(own, delay_s):
    with fed(own, delay_s) as line:
        poller = select.poll()
        poller.register(line, select.POLLIN)
        poller.poll()
        return number_from(line.recv)


def wait_selector(own, delay_s):
    with fed(own, delay_s) as line, selectors.DefaultSelector() as selector:
        selector.register(line, selectors.EVENT_READ, own)
        (key, _), = selector.select()
        return key.data if number_from(line.recv) == own else None


def wait_lock(own, delay_s):
    lock = threading.Lock()
    lock.acquire()
    feeder.later(delay_s, lock.release)
    with lock:
        return own


def wait_timed_lock(own, delay_s):
    lock = threading.Lock()
    lock.acquire()
    assert not lock.acquire(timeout=delay_s)
    return own


def wait_process_lock(own, delay_s):
    """A lock of multiprocessing's, that another process lets go."""
    lock = processes.Lock()
    lock.acquire()
    child = os.fork()
    if child == 0:
        time.sleep(delay_s)
        lock.release()
        os._exit(0)
    try:
        with lock:
            return own
    finally:
        with uwsgi_tornado.shield():
            os.waitpid(child, 0)


class Exclusive:
    """A lock that notices when two hold it."""

    def __init__(self, lock):
        self.lock, self.holder = lock, None

    @contextlib.contextmanager
    def held_by(self, own):
        with self.lock:
            assert self.holder is None, (own, self.holder)
            self.holder = own
            try:
                yield
                assert self.holder == own, (own, self.holder)
            finally:
                self.holder = None


shared = [Exclusive(lock()) for lock in (threading.Lock, threading.RLock, threading.Lock, threading.RLock, threading.Condition)]


def wait_shared_lock(own, delay_s):
    with shared[own % len(shared)].held_by(own):
        time.sleep(delay_s / 20)
    return own


def wait_event(own, delay_s):
    event = threading.Event()
    feeder.later(delay_s, event.set)
    assert event.wait(LONG_S)
    return own


def wait_condition(own, delay_s):
    condition, said = threading.Condition(), []

    def tell():
        with condition:
            said.append(own)
            condition.notify()

    feeder.later(delay_s, tell)
    with condition:
        condition.wait_for(lambda: said)
    return said[0]


def wait_queue(own, delay_s):
    line = queue.Queue()
    feeder.later(delay_s, line.put, own)
    return line.get()


def wait_simple_queue(own, delay_s):
    line = queue.SimpleQueue()
    feeder.later(delay_s, line.put, own)
    return line.get()


def wait_barrier(own, delay_s):
    barrier = threading.Barrier(2)
    pool.submit(lambda: (time.sleep(delay_s / 10), barrier.wait(LONG_S)))
    try:
        barrier.wait()
    finally:
        barrier.abort()
    return own


def wait_thread_join(own, delay_s):
    said = []
    thread = threading.Thread(target=lambda: (time.sleep(delay_s), said.append(own)))
    thread.start()
    thread.join()
    return said[0]


def wait_thread_pool(own, delay_s):
    return pool.submit(lambda: (time.sleep(delay_s / 10), own)[1]).result()


def wait_subprocess(own, delay_s):
    return own if subprocess.run(['sh', '-c', f'sleep {delay_s}; exit {own % 200}']).returncode == own % 200 else None


def wait_communicate(own, delay_s):
    done = subprocess.run(['sh', '-c', f'sleep {delay_s}; read n; echo $n'], input=str(own), text=True, capture_output=True)
    return int(done.stdout)


def wait_fork(own, delay_s):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            time.sleep(delay_s)
            os.write(writer, b'%d\n' % own)
        finally:
            os._exit(0)
    os.close(writer)
    try:
        return number_from(functools.partial(os.read, reader))
    finally:
        os.close(reader)
        with uwsgi_tornado.shield():
            os.waitpid(child, 0)


def wait_flock(own, delay_s):
    with open(lock_file.name) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        time.sleep(delay_s / 50)
    return own


def wait_name(own, delay_s):
    socket.getaddrinfo('localhost', own % 60000)
    return own


def wait_requests(own, delay_s):
    return int(requests.get(f'{UPSTREAM}/{own}').text[1:])


def wait_fetch(own, delay_s):
    return int(uwsgi_tornado.fetch(f'{UPSTREAM}/{own}').body[1:])


def wait_asyncio_run(own, delay_s):
    return asyncio.run(asyncio.sleep(delay_s, own))


async def slow(own, delay_s):
    try:
        return await asyncio.sleep(delay_s, own)
    finally:
        await asyncio.sleep(0)


def wait_await(own, delay_s):
    return uwsgi_tornado.await_(slow(own, delay_s))


def wait_await_timed(own, delay_s):
    return uwsgi_tornado.await_(slow(own, delay_s), timeout=LONG_S)


def wait_await_timeout(own, delay_s):
    with contextlib.suppress(asyncio.TimeoutError):
        uwsgi_tornado.await_(slow(own, LONG_S), timeout=delay_s)
        raise AssertionError('it came to an end')
    return own


def wait_gather(own, delay_s):
    first, second = uwsgi_tornado.gather_(slow(own, delay_s), slow(-own, delay_s / 2))
    return first if second == -own else None


def wait_stream(own, delay_s):
    async def ask():
        reader, writer = await asyncio.open_connection('127.0.0.1', int(UPSTREAM.rpartition(':')[2]))
        try:
            writer.write(b'GET /%d HTTP/1.0\r\n\r\n' % own)
            await reader.readuntil(b'\r\n\r\n')
            return int((await reader.readexactly(len(str(own)) + 1))[1:])
        finally:
            writer.close()

    return uwsgi_tornado.await_(ask())


def wait_await_pool(own, delay_s):
    return uwsgi_tornado.await_(pool.submit(lambda: (time.sleep(delay_s / 10), own)[1]))


def wait_to_thread(own, delay_s):
    return uwsgi_tornado.to_thread(lambda: (time.sleep(delay_s / 10), own)[1])


def wait_suspend(own, delay_s):
    uwsgi.async_sleep(delay_s)
    uwsgi.suspend()
    return own


def wait_wait_fd(own, delay_s):
    with fed(own, delay_s) as line:
        uwsgi.wait_fd_read(line.fileno(), LONG_S)
        uwsgi.suspend()
        return number_from(line.recv)


def wait_tls(own, delay_s):
    """A handshake that the other side breaks off."""
    ours, theirs = socket.socketpair()
    feeder.later(delay_s, theirs.close)
    with ours, theirs, contextlib.suppress(ssl.SSLError, OSError):
        ssl.create_default_context().wrap_socket(ours, server_hostname='localhost')
        raise AssertionError('a handshake with nobody')
    return own


# By name; how often each is chosen.
WAITS = {name[5:]: function for name, function in list(globals().items()) if name.startswith('wait_')}
SELDOM = {'subprocess', 'communicate', 'fork', 'process_lock', 'thread_join', 'asyncio_run', 'requests', 'fetch', 'stream',
          'send', 'tls'}
WEIGHTS = [1 if name in SELDOM else 4 for name in WAITS]
