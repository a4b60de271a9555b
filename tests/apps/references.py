"""Ways for a request to come and go, and how many references there are (a debug Python counts them)."""
import asyncio
import gc
import sys
import threading
import time

try:
    import uwsgi_tornado
except ImportError:  # Under --threads, the reference.
    uwsgi_tornado = None

LONG_S = 60
lock = threading.Lock()


def quick():
    with lock:
        time.sleep(0.001)
    return [b'quick']


def streamed():
    def stream():
        for number in range(3):
            time.sleep(0.001)
            yield b'%d' % number
    return stream()


def raises():
    raise ValueError('asked for')


async def soon(number):
    await asyncio.sleep(0.001)
    return number


def awaits():
    return [b'%d' % sum(uwsgi_tornado.gather_(*map(soon, range(3)))), uwsgi_tornado.await_(soon(b'4'))]


def spawns():
    helper = uwsgi_tornado.spawn(quick)
    computed = uwsgi_tornado.to_thread(sum, range(100))
    return [b'%d %s' % (computed, helper.result()[0])]


def looks():
    return [b'%d %d' % (len(uwsgi_tornado.fibers()) > 0, len(uwsgi_tornado.dump()) > 0)]


def ended_asleep():
    time.sleep(LONG_S)


def ended_in_lock():
    threading.Event().wait(LONG_S)


def ended_in_await():
    uwsgi_tornado.await_(asyncio.sleep(LONG_S))


def ended_again_and_again():
    for _ in range(3):
        try:
            time.sleep(LONG_S)
        except uwsgi_tornado.RequestTimeout:
            pass
    return [b'over']


def ended_in_stream():
    def stream():
        try:
            yield b'begun'
            time.sleep(LONG_S)
        finally:
            time.sleep(0)
    return stream()


def count():
    gc.collect()
    return [b'%d' % sys.gettotalrefcount()]


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return globals()[environ['PATH_INFO'].strip('/')]()
