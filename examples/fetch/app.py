import os

import requests
from tornado.httpclient import AsyncHTTPClient
from uwsgi_tornado import HTTPError, await_, fetch, fetch_async, gather_

SERVICES = os.environ.get('SERVICES', 'http://127.0.0.1:9090/services')


def services():
    """The page that the others fetch, unless SERVICES names another."""
    return b'one two three\n'


def by_fetch():
    return fetch(SERVICES, request_timeout=5).body


def by_gather():
    return b' '.join(answer.body for answer in gather_(*[fetch_async(SERVICES) for _ in range(3)]))


def by_tornado():
    return await_(AsyncHTTPClient().fetch(SERVICES)).body


def by_requests():
    return requests.get(SERVICES, timeout=5).content


FACES = {'/services': services, '/fetch': by_fetch, '/gather': by_gather, '/tornado': by_tornado, '/requests': by_requests}


def application(environ, start_response):
    face = FACES.get(environ['PATH_INFO'])
    if face is None:
        start_response('404 Not Found', [('Content-Type', 'text/plain')])
        return [' '.join(FACES).encode() + b'\n']
    try:
        body = face()
    except HTTPError as error:
        start_response('502 Bad Gateway', [('Content-Type', 'text/plain')])
        return [str(error).encode() + b'\n']
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [body]
