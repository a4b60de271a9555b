"""Requests that wait in C with the GIL kept, for what another request does."""
import ctypes
import json
import os

import uwsgi_tornado

with_gil = ctypes.PyDLL(os.environ['GATE'])


def wait(kind):
    getattr(with_gil, f'wait_by_{kind}')()
    return 'passed'


def open(kind):
    getattr(with_gil, f'open_by_{kind}')()
    return 'opened'


def report(_):
    return json.dumps(uwsgi_tornado.blocking_report())


def application(environ, start_response):
    body = {'/wait': wait, '/open': open, '/report': report}[environ['PATH_INFO']](environ['QUERY_STRING']).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
