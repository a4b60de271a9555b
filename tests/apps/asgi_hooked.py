"""An ASGI application, and Python code that uWSGI runs on the thread of its requests."""
import sys
import threading

import uwsgi


async def application(scope, receive, send):
    if scope['path'] == '/raises':
        raise RuntimeError('as asked')
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'0')]})
    await send({'type': 'http.response.body'})


def say(what):
    print(f'app: {what} in {threading.current_thread().name}\n', file=sys.stderr, end='', flush=True)


def after_request():
    say('after_req_hook')


def on_exception(*error):
    say('excepthook')


uwsgi.after_req_hook = after_request
sys.excepthook = on_exception
