import pathlib

import uwsgi

PAGE = (pathlib.Path(__file__).parent / 'page.html').read_bytes()
readers = set()


def tell_all(message):
    for reader in list(readers):
        try:
            uwsgi.websocket_send(message, request_context=reader)
        except uwsgi.WebSocketClosed:
            pass  # Its own request removes it from the list.


def chat():
    uwsgi.websocket_handshake()
    me = uwsgi.request_context()
    readers.add(me)
    try:
        tell_all(f'{len(readers)} here')
        while True:
            tell_all(uwsgi.websocket_recv(decode=True))
    except uwsgi.WebSocketClosed:
        return []
    finally:
        readers.discard(me)
        tell_all(f'{len(readers)} here')


def application(environ, start_response):
    if 'HTTP_UPGRADE' in environ:
        return chat()
    start_response('200 OK', [('Content-Type', 'text/html; charset=utf-8')])
    return [PAGE]
