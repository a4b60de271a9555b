"""A request that holds its core until its client says so, and one that tells who served it."""
import os
import time


def held(environ):
    yield b'%d ' % os.getpid()
    environ['wsgi.input'].read()
    yield b'let go'


def application(environ, start_response):
    if environ['REQUEST_METHOD'] == 'POST':
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return held(environ)
    if environ['QUERY_STRING']:
        time.sleep(float(environ['QUERY_STRING']))
    pid = str(os.getpid()).encode()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(pid)))])
    return [pid]
