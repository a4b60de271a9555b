"""A page, and the health check of the probes."""
import time


def application(environ, start_response):
    if environ['PATH_INFO'] != '/healthz':
        time.sleep(0.2)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'ok\n']
