"""A WSGI application to be mounted beside an ASGI application."""
import threading


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [threading.current_thread().name.encode()]
