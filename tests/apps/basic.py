"""Routes most tests need. Nothing here knows the engine."""
import time


def hello(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '5')])
    return [b'hello']


def sleep(environ, start_response):
    time.sleep(float(environ['QUERY_STRING'] or '0.2'))
    return hello(environ, start_response)


ROUTES = {'/': hello, '/sleep': sleep}


def application(environ, start_response):
    return ROUTES[environ['PATH_INFO']](environ, start_response)
