"""A page that waits, an echo over websockets and a health check; each says which node answered."""
import os
import time
import urllib.parse

import uwsgi

NODE = os.environ.get('NODE', 'node')


def echo():
    uwsgi.websocket_handshake()
    try:
        while True:
            uwsgi.websocket_send(f'{NODE}: {uwsgi.websocket_recv(decode=True)}')
    except uwsgi.WebSocketClosed:
        return []


def application(environ, start_response):
    if 'HTTP_UPGRADE' in environ:
        return echo()
    if environ['PATH_INFO'] != '/healthz':
        wait = urllib.parse.parse_qs(environ['QUERY_STRING']).get('wait', ['0'])[0]
        time.sleep(min(float(wait), 10))
    start_response('200 OK', [('Content-Type', 'text/plain'), ('X-Node', NODE)])
    return [NODE.encode()]
