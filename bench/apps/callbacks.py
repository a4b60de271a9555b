"""The application for uWSGI's own Tornado engine: as wsgi.py, with waits in that engine's terms."""
import os
import time

import greenlet
from tornado.ioloop import IOLoop

import wsgi

timers = IOLoop.current()


def sleep(seconds):
    me = greenlet.getcurrent()
    timers.add_timeout(time.time() + seconds, me.switch)
    me.parent.switch()


def timer(environ, start_response):
    sleep(0.1)
    return wsgi.respond(start_response, b'hello')


def second(environ, start_response):
    sleep(1)
    return wsgi.respond(start_response, b'hello')


def async_fetch(environ, start_response):
    me = greenlet.getcurrent()
    future = wsgi.http_client().fetch(os.environ['BENCH_UPSTREAM'])
    future.add_done_callback(lambda _: me.switch())
    me.parent.switch()
    return wsgi.respond(start_response, future.result().body)


def hold(environ, start_response):
    wsgi.waiting += 1
    while not wsgi.released:
        sleep(1)
    wsgi.waiting -= 1
    return wsgi.respond(start_response, b'hello')


def application(environ, start_response):
    path = environ['PATH_INFO']
    own = {'/timer': timer, '/second': second, '/hold': hold, '/async_fetch': async_fetch}.get(path)
    return own(environ, start_response) if own else wsgi.application(environ, start_response)
