"""Holds requests, computes and blocks, and tells what the worker's metrics say."""
import json
import threading
import time

import uwsgi
import uwsgi_tornado

released = threading.Event()
NAMES = ('cores_used', 'cores_free', 'cores_peak', 'running', 'parked', 'queue_full_ms', 'refused', 'loop_lag_us',
         'busy_percent', 'switches', 'preempted', 'stack_peak')


def metrics(environ):
    return json.dumps({name: uwsgi.metric_get(f'worker.{uwsgi.worker_id()}.tornado.{name}') for name in NAMES})


def hold(environ):
    released.wait()
    return 'released'


def release(environ):
    released.set()
    return 'released'


def block(environ):
    """Holds the loop for that many seconds without any CPU."""
    with uwsgi_tornado.no_suspend():
        time.sleep(float(environ['QUERY_STRING']))
    return 'blocked'


def compute(environ):
    """Computes for that many seconds."""
    until = time.monotonic() + float(environ['QUERY_STRING'])
    while time.monotonic() < until:
        pass
    return 'computed'


def read(environ):
    environ['wsgi.input'].read()
    return 'read'


def quick(environ):
    return 'quick'


def application(environ, start_response):
    body = globals()[environ['PATH_INFO'].strip('/')](environ).encode()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [body]
