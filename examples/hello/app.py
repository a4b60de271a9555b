"""A plain WSGI application, without any code for the engine."""
import time


def application(environ, start_response):
    if environ['PATH_INFO'] == '/sleep':
        time.sleep(1)  # Suspends this request only.
    body = b'hello from core %d\n' % environ.get('uwsgi.core', 0)
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
