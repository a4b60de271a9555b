"""Server-sent events and a long poll that end with the worker instead of being cut."""
import time

from uwsgi_tornado import stopping


def events():
    """Sends the time each second. A client whose stream ends connects again, to the next worker."""
    yield b'retry: 500\n\n'
    while not stopping.wait(timeout=1):  # A sleep that ends early.
        yield f'data: {time.time():.0f}\n\n'.encode()
    yield b'event: goodbye\ndata: the worker ends\n\n'


def application(environ, start_response):
    if environ['PATH_INFO'] == '/events':
        start_response('200 OK', [('Content-Type', 'text/event-stream'), ('Cache-Control', 'no-store'), ('X-Accel-Buffering', 'no')])
        return events()
    ended = stopping.wait(timeout=20)  # A long poll that waits for nothing else.
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'ask again\n' if ended else b'nothing new\n']
