"""Tornado's handlers and websockets beside a WSGI application, in one worker, with the same objects."""
import collections
import json
import os

import tornado.web
import tornado.websocket
from tornado.ioloop import IOLoop
from uwsgi_tornado import stopping

PORT = int(os.environ.get('TORNADO_PORT', 8001))

messages = collections.deque(maxlen=100)
readers = set()  # Only Tornado's code, on the loop, changes it.


class Messages(tornado.web.RequestHandler):
    def get(self):
        self.write({'messages': list(messages), 'readers': len(readers)})


class Reader(tornado.websocket.WebSocketHandler):
    def open(self, *args, **kwargs):
        readers.add(self)

    def on_message(self, message):  # Text, or bytes, which are not JSON.
        say(message if isinstance(message, str) else message.decode(errors='replace'))

    def on_close(self):
        readers.discard(self)


def tell_all(message):
    for reader in list(readers):
        try:
            reader.write_message(message)
        except tornado.websocket.WebSocketClosedError:
            pass  # on_close() removes it.


def say(message):
    """May be called anywhere. Tornado's objects belong to the loop, and to Python a request is another thread."""
    messages.append(message)
    io_loop.add_callback(tell_all, message)


async def serve():
    server = tornado.web.Application([('/', Messages), ('/ws', Reader)]).listen(PORT)
    await stopping  # This worker ends.
    server.stop()
    for reader in list(readers):
        reader.close(1001)


io_loop = IOLoop.current()
io_loop.add_callback(serve)  # In each worker, whose loop takes this over.


def application(environ, start_response):
    if environ['REQUEST_METHOD'] == 'POST':
        say(environ['wsgi.input'].read(4096).decode(errors='replace'))
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps({'messages': list(messages), 'readers': len(readers)}).encode() + b'\n']
