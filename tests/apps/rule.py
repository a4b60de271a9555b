"""Where a blocking call must not suspend, and where it may although it looks as if not.

A route is a function of this module; its argument is the query, its result the body.
Every wait counts who waits with it: a peak of 1 says that the calls blocked one another.
"""
import asyncio
import atexit
import ctypes
import multiprocessing
import os
import select
import socket
import threading
import time

import uwsgi
import uwsgi_tornado

WAIT_S = 25

waiting = 0
peak = 0


class Counted:
    def __enter__(self):
        global waiting, peak
        waiting += 1
        peak = max(peak, waiting)

    def __exit__(self, *_):
        global waiting
        waiting -= 1


def counted_sleep(seconds=0.02):
    with Counted():
        time.sleep(seconds)


def read_peak(_):
    return str(peak)


def sleep(own):
    counted_sleep()
    return own


def every_call():
    """One of each kind of blocking call, with the answers the real ones give."""
    time.sleep(0.002)
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(0.01)
        try:
            here.recv(1)
        except TimeoutError:
            pass
        threading.Timer(0.01, there.send, [b'x']).start()
        here.settimeout(None)
        assert here.recv(1) == b'x'
        assert select.select([here], [], [], 0.002) == ([], [], [])
        poll = select.poll()
        poll.register(here, select.POLLIN)
        assert poll.poll(2) == []
    reading, writing = os.pipe()
    threading.Timer(0.005, os.write, [writing, b'y']).start()
    assert os.read(reading, 1) == b'y'
    os.close(reading)
    os.close(writing)
    lock = threading.Lock()
    assert lock.acquire() and not lock.acquire(timeout=0.005)
    threading.Timer(0.005, lock.release).start()
    assert lock.acquire(timeout=WAIT_S)
    assert socket.getaddrinfo('127.0.0.1', 80)
    return b'all right'


def in_request(_):
    return every_call().decode()


def in_thread(_):
    """In threads of a request, while others of their kind run and requests wait."""
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(every_call())) for _ in range(3)]
    for thread in threads:
        thread.start()
    counted_sleep()
    for thread in threads:
        thread.join()
    assert answers == [b'all right'] * 3
    return 'all right'


def in_child(_):
    """In a child that os.fork() made in a request."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, every_call())
        finally:
            os._exit(0)
    os.close(writing)
    answer = os.read(reading, 100)
    os.close(reading)
    os.waitpid(child, 0)
    return answer.decode()


def in_process(_):
    """In a child of multiprocessing's, whose answer comes over a queue's pipe and feeder thread."""
    context = multiprocessing.get_context('fork')
    answers = context.SimpleQueue()
    child = context.Process(target=lambda: answers.put(every_call()))
    child.start()
    answer = answers.get()
    child.join()
    return answer.decode()


# --- Nobody else may run: the GIL is held, or the app says so ---

take_lock = ctypes.pythonapi.PyThread_acquire_lock_timed
take_lock.argtypes = [ctypes.c_void_p, ctypes.c_longlong, ctypes.c_int]
new_lock = ctypes.pythonapi.PyThread_allocate_lock
new_lock.restype = ctypes.c_void_p
free_lock = ctypes.pythonapi.PyThread_free_lock
free_lock.argtypes = [ctypes.c_void_p]


def with_gil_held(own):
    """ctypes.pythonapi keeps the GIL while CPython waits for a lock it will not get."""
    lock = new_lock()
    assert take_lock(lock, 0, 0) == 1

    @ctypes.PYFUNCTYPE(ctypes.c_int)
    def callback():
        with Counted():
            return take_lock(lock, 10000, 0)

    assert callback() == 0
    free_lock(lock)
    return own


def under_guard(own):
    with uwsgi_tornado.no_suspend():
        counted_sleep()
    return own


def in_callback(own):
    """A ctypes callback of a CDLL runs with the GIL taken; its own waits give it up again."""
    ctypes.CFUNCTYPE(None)(counted_sleep)()
    return own


# --- Foreign greenlets ---


def in_greenlet(own):
    import greenlet

    def inner(number):
        counted_sleep()
        answer = greenlet.getcurrent().parent.switch(number + 1)
        counted_sleep()
        return answer + 1

    child = greenlet.greenlet(inner)
    first = child.switch(int(own))
    counted_sleep(0.001)  # Not in the greenlet: this one suspends.
    second = child.switch(first)
    assert child.dead
    return str(second)


def import_greenlet(_):
    import greenlet
    return greenlet.__version__


def refusals(_):
    """Why calls blocked the worker so far."""
    blocked = uwsgi_tornado.blocking_report()['blocked']
    return ' and '.join(sorted({reason for reasons in blocked.values() for reason in reasons}))


# --- asyncio of the standard library, as it is ---


async def several(own):
    async def one():
        with Counted():
            await asyncio.sleep(0.05)
        return own

    assert await asyncio.gather(one(), one()) == [own, own]
    assert await asyncio.get_running_loop().run_in_executor(None, lambda: own) == own
    here, there = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=here)
    asyncio.get_running_loop().call_later(0.01, there.send, own.encode() + b'\n')
    assert (await reader.readline()).decode().strip() == own
    writer.close()
    there.close()
    return own


def asyncio_run(own):
    return asyncio.run(several(own))


def application(environ, start_response):
    body = globals()[environ['PATH_INFO'][1:]](environ['QUERY_STRING']).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]


def record(line):
    with open('at_exit', 'a') as log:
        log.write(line)


def at_exit():
    started = time.monotonic()
    time.sleep(0.02)
    threading.Timer(0, record, ['thread ']).run()
    record('slept' if time.monotonic() - started >= 0.02 else 'did not sleep')


atexit.register(at_exit)
uwsgi.atexit = lambda: record('uwsgi.atexit ')
