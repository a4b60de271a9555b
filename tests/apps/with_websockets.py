"""Websockets through uWSGI's functions: in the request itself and from elsewhere in the worker."""
import concurrent.futures
import threading
import time

import uwsgi
import uwsgi_tornado

members = {}
released = threading.Event()


def echo(environ):
    while True:
        message = uwsgi.websocket_recv(decode=True)
        (uwsgi.websocket_send if isinstance(message, str) else uwsgi.websocket_send_binary)(message)


def held_echo(environ):
    """Answers once it is released."""
    while True:
        message = uwsgi.websocket_recv()
        released.wait()
        uwsgi.websocket_send(message)


def release(environ):
    released.set()
    return b''


def echo_nb(environ):
    """As uWSGI's documentation has it for its async mode."""
    fd = uwsgi.connection_fd()
    while True:
        uwsgi.wait_fd_read(fd, 30)
        uwsgi.suspend()
        if uwsgi.ready_fd() == fd:
            while message := uwsgi.websocket_recv_nb():
                uwsgi.websocket_send(message)


def pushed(environ):
    """Twenty functions beside the request send whole messages at once, while it receives."""
    context = uwsgi.request_context()
    size = int(environ['QUERY_STRING'])
    pushers = [uwsgi_tornado.spawn(uwsgi.websocket_send, chr(ord('a') + n) * size, request_context=context)
               for n in range(20)]
    concurrent.futures.wait(pushers)
    uwsgi.websocket_send(uwsgi.websocket_recv())


def member(environ):
    """Can be talked to by other requests while it is connected."""
    name = environ['QUERY_STRING']
    members[name] = uwsgi.request_context()
    uwsgi.websocket_send('joined')
    try:
        echo(environ)
    finally:
        print(f'{name} has left')


def left_in_use(environ):
    """Ends while others receive from it, and send what its client does not read."""
    context = uwsgi.request_context()
    calls = [uwsgi_tornado.spawn(uwsgi.websocket_recv, request_context=context),
             uwsgi_tornado.spawn(uwsgi.websocket_send, 'x' * 5_000_000, request_context=context)]
    uwsgi_tornado.spawn(tell, calls)
    time.sleep(0.05)


def overtaken(environ):
    """Sends where it may not wait, while another sends what its client does not read."""
    sender = uwsgi_tornado.spawn(uwsgi.websocket_send, 'x' * 5_000_000, request_context=uwsgi.request_context())
    time.sleep(0.05)
    print('the sender waits')
    try:
        with uwsgi_tornado.no_suspend():
            uwsgi.websocket_send('y' * 100)
    except RuntimeError as error:
        print('refused:', error)
    concurrent.futures.wait([sender])


def tell(calls):
    print('ended with', [type(call.exception()).__name__ for call in calls])


def closing(environ):
    try:
        echo(environ)
    except OSError as error:
        print(f'closed with {error.code} {error.reason!r}: {error}')


def close_with(environ):
    code, _, reason = environ['QUERY_STRING'].partition('&')
    uwsgi.websocket_close(int(code), reason)


def say(environ):
    """No websocket: tells the members what was posted, and those who have left by their names."""
    message = environ['wsgi.input'].read()
    gone = []
    for name, context in sorted(members.items()):
        try:
            uwsgi.websocket_send(message, request_context=context)
        except OSError:
            gone.append(name)
    return ' '.join(gone).encode()


def misuse(environ):
    """What each wrong use raises."""
    said = []
    for call in (lambda: uwsgi_tornado.spawn(uwsgi.websocket_recv).result(),
                 lambda: uwsgi.websocket_send('x', request_context=1),
                 lambda: uwsgi.websocket_close(1), lambda: uwsgi.websocket_close(1006),
                 lambda: uwsgi.websocket_close(1000, 'x' * 124)):
        try:
            call()
        except Exception as error:
            said.append(type(error).__name__)
    return ' '.join(said).encode()


def quick(environ):
    return b'quick'


def application(environ, start_response):
    handler = globals()[environ['PATH_INFO'].strip('/')]
    if 'HTTP_UPGRADE' not in environ:
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return [handler(environ)]
    uwsgi.websocket_handshake()
    try:
        handler(environ)
    except uwsgi.WebSocketClosed:
        pass
    return []
