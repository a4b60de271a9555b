"""Speaks the protocol itself, on the socket that simple-websocket and flask-sock look for: as they do it."""
import threading

import wsproto
from wsproto.events import AcceptConnection, CloseConnection, TextMessage


def handshake(environ):
    connection = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    headers = [(key[5:].replace('_', '-'), value) for key, value in environ.items() if key.startswith('HTTP_')]
    connection.receive_data(b'GET / HTTP/1.1\r\n' + b''.join(b'%s: %s\r\n' % (k.encode(), v.encode()) for k, v in headers) + b'\r\n')
    next(connection.events())
    return connection


def serve(environ):
    """Echoes until the client closes."""
    sock, connection = environ['gunicorn.socket'], handshake(environ)
    sock.send(connection.send(AcceptConnection()))
    while True:
        connection.receive_data(sock.recv(4096) or None)
        for event in connection.events():
            if isinstance(event, TextMessage):
                sock.sendall(connection.send(TextMessage(data=event.data)))
            if isinstance(event, CloseConnection):
                if event.code != 1006:
                    sock.send(connection.send(event.response()))
                return


def keep(environ):
    """Leaves a thread that reads the connection after the request."""
    sock, connection = environ['gunicorn.socket'], handshake(environ)
    sock.send(connection.send(AcceptConnection()))
    threading.Thread(target=lambda: print('thread got', sock.recv(10)), daemon=True).start()


def application(environ, start_response):
    if 'gunicorn.socket' not in environ:
        start_response('200 OK', [])
        return [b'no websocket']
    (keep if environ['PATH_INFO'] == '/keep' else serve)(environ)
    raise StopIteration
