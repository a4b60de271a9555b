"""What hostile clients ask for: each way to read a request and to answer it, beside routes that tell how the worker is."""
import json
import time

import uwsgi
import uwsgi_tornado

from bad import good, leave, pid, together  # For health.py.

HEADERS = [('Content-Type', 'text/plain')]


def echo(environ, start_response):
    body = environ['wsgi.input'].read()
    start_response('200 OK', HEADERS + [('Content-Length', str(len(body)))])
    return [body]


def lines(environ, start_response):
    start_response('200 OK', HEADERS)
    return list(environ['wsgi.input'])


def chunks(environ, start_response):
    """A body that is sent in chunks."""
    start_response('200 OK', HEADERS)
    while chunk := uwsgi.chunked_read(1):
        yield chunk


def whole_chunk(environ, start_response):
    chunk = uwsgi.chunked_read(5)
    start_response('200 OK', HEADERS)
    return [chunk]


def stream(environ, start_response):
    """Waits between its parts, whoever has left meanwhile."""
    start_response('200 OK', HEADERS)
    for _ in range(5):
        time.sleep(0.002)
        yield b'x' * 1000


def websocket(environ, start_response):
    uwsgi.websocket_handshake()
    while True:
        uwsgi.websocket_send_binary(uwsgi.websocket_recv())


def others(environ, start_response):
    """The requests there are beside this one."""
    start_response('200 OK', HEADERS)
    rows = [row for row in uwsgi_tornado.fibers() if row['uri'] != '/others']
    return [json.dumps(rows, default=repr).encode()]


ROUTES = {f'/{route.__name__}': route for route in (echo, lines, chunks, whole_chunk, stream, websocket, others, leave, pid, together)}


def application(environ, start_response):
    return ROUTES.get(environ.get('PATH_INFO'), good)(environ, start_response)
