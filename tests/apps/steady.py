"""An answer of a known size after a wait; says which worker gave it."""
import os
import time


def application(environ, start_response):
    time.sleep(float(environ['QUERY_STRING'] or '0'))
    body = b'%d answered' % os.getpid()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
