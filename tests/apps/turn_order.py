"""What a worker does first after it was held: the order in which requests went on."""
import os
import time

import uwsgi_tornado

order = []
due = 0


def hold(fifo):
    """Holds the worker until a byte comes, and what slept before is due."""
    with uwsgi_tornado.no_suspend():
        descriptor = os.open(fifo, os.O_RDONLY)
        os.read(descriptor, 1)
        os.close(descriptor)
        while time.monotonic() < due:
            pass


def sleep():
    global due
    due = time.monotonic() + 0.03
    time.sleep(0.02)
    order.append('timer')


def tick():
    """Waits a millisecond again and again."""
    global due
    due = time.monotonic() + 0.02
    for _ in range(40):
        time.sleep(0.001)
        order.append('tick')


def begin():
    """As a request that computes for longer than connections are accepted at a time."""
    with uwsgi_tornado.no_suspend():
        order.append('new')
        until = time.monotonic() + 0.008
        while time.monotonic() < until:
            pass


def application(environ, start_response):
    path = environ['PATH_INFO'].strip('/')
    if path == 'hold':
        hold(environ['QUERY_STRING'])
    elif path in ('sleep', 'tick', 'begin'):
        globals()[path]()
    elif path != 'order':
        order.append(path)
    body = ' '.join(order).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
