"""Which client Tornado's AsyncHTTPClient is, and what it fetches in requests."""
import os

from tornado.httpclient import AsyncHTTPClient, HTTPClient
from uwsgi_tornado import await_, gather_

UPSTREAM = os.environ['UPSTREAM']
if os.environ.get('CONFIGURE'):
    AsyncHTTPClient.configure('uwsgi_tornado.AsyncHTTPClient', max_clients=50)


def which(_):
    client = AsyncHTTPClient()
    return f'{type(client).__module__} {type(client).__name__} {client._max_clients if hasattr(client, "_max_clients") else None}'


def many(_):
    client = AsyncHTTPClient(force_instance=True, max_clients=100)
    return repr([each.body for each in gather_(*(client.fetch(f'{UPSTREAM}/{n}') for n in range(20)))])


def sync(_):
    """Tornado's HTTPClient, which runs a loop of its own."""
    client = HTTPClient()
    try:
        return repr(client.fetch(f'{UPSTREAM}/page').body)
    finally:
        client.close()


def application(environ, start_response):
    answer = globals()[environ['PATH_INFO'].strip('/')](environ['QUERY_STRING']).encode()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer]
