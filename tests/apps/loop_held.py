"""Requests, callbacks and threads that hold the loop, each for the milliseconds of its query; and some that do not."""
import asyncio
import ctypes
import threading
import time

import uwsgi_tornado

libc = ctypes.PyDLL(None)  # Called with the GIL held.


def in_native_call(seconds):
    with uwsgi_tornado.no_suspend():
        time.sleep(seconds)


def in_library(seconds):
    """A call of a library that is not redirected, without the GIL: a signal would have it fail."""
    ready = ctypes.CDLL(None, use_errno=True).poll(None, 0, int(seconds * 1000))
    if ready != 0:
        raise OSError(ctypes.get_errno(), 'poll')


def in_c_code(seconds):
    """Waits for a mutex it has itself, with the GIL: a wait that no signal ends."""
    mutex = ctypes.create_string_buffer(64)
    until = time.clock_gettime_ns(time.CLOCK_REALTIME) + int(seconds * 1e9)
    timespec = (ctypes.c_long * 2)(*divmod(until, 10**9))
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_timedlock(mutex, timespec)


def in_python(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def in_callback(seconds):
    async def coroutine():
        in_python(seconds)
    uwsgi_tornado.await_(coroutine())


def in_thread(seconds):
    """In a thread that keeps the GIL, while the loop, asleep by then, wants it."""
    def run():
        time.sleep(0.1)  # Until the request sleeps: one that was running would be what waits for the GIL.
        in_c_code(seconds)
    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.3)  # Its end is what wakes the loop.
    thread.join()


def sleeping(seconds):
    time.sleep(seconds)


def in_turns(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0)


def quick(seconds):
    pass


def application(environ, start_response):
    globals()[environ['PATH_INFO'].strip('/')](float(environ['QUERY_STRING'] or 0) / 1000)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'done']
