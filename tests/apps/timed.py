"""Requests that wait for known things for known times."""
import threading
import time

lock = threading.Lock()


def sleep(seconds):
    time.sleep(seconds)


def locked(seconds):
    timer = threading.Timer(seconds, lock.release)
    lock.acquire()
    timer.start()
    lock.acquire()
    lock.release()


def compute(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def quick(seconds):
    pass


def sleep_after_header(seconds):
    yield b'begun'
    time.sleep(seconds)
    yield b' done'


def application(environ, start_response):
    seconds = float(environ['QUERY_STRING'] or 0)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    function = globals()[environ['PATH_INFO'].strip('/')]
    if function is sleep_after_header:
        return sleep_after_header(seconds)
    function(seconds)
    return [b'done']
