"""A hook after each request that raises what the request asked for."""
import builtins
import os
import threading

import uwsgi

asked = threading.local()


def application(environ, start_response):
    asked.name = environ['QUERY_STRING']
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid()).encode()]


def raise_what_was_asked():
    if asked.name:
        raise getattr(builtins, asked.name)('as asked')


uwsgi.after_req_hook = raise_what_was_asked
