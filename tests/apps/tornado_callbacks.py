"""fetch(url, callback) of Tornado's client, from requests: they wait for what the callback says."""
import functools
import os
import threading

UPSTREAM = os.environ['UPSTREAM']

if os.environ.get('IMPORT_EARLY'):
    import tornado.httpclient


class Answer:
    """Waits, in its request, for a callback on the hub."""

    def __init__(self):
        self.done = threading.Event()
        self.on_hub = None

    def __call__(self, response):
        self.response = response
        self.on_hub = threading.current_thread() is threading.main_thread()
        self.done.set()

    def text(self):
        assert self.done.wait(20)
        body = self.response.body.decode() if self.response.body else None
        return f'{self.response.code} {body} {type(self.response.error).__name__} {self.on_hub}'


def fetch(path, how):
    import tornado.httpclient
    client, answer = tornado.httpclient.AsyncHTTPClient(), Answer()
    url = UPSTREAM + path
    if how == 'second':
        future = client.fetch(url, functools.partial(answer))
    elif how == 'named':
        future = client.fetch(url, callback=answer)
    elif how == 'request':
        future = client.fetch(tornado.httpclient.HTTPRequest(url), answer)
    elif how == 'options':
        future = client.fetch(url, answer, method='POST', body='12345', raise_error=False)
    elif how == 'both':  # The future is given all the same.
        future = client.fetch(url, answer)
        answer.text()
        return f'{future.result().code} {client.fetch.__name__}'
    return answer.text()


def awaited(path):
    """As Tornado 6 has it: without a callback, or with the second argument its own."""
    import tornado.httpclient
    import uwsgi_tornado
    client = tornado.httpclient.AsyncHTTPClient()
    codes = [uwsgi_tornado.await_(client.fetch(UPSTREAM + path)).code, uwsgi_tornado.await_(client.fetch(UPSTREAM + '/404', False)).code]
    try:
        uwsgi_tornado.await_(client.fetch(UPSTREAM + '/404'))
    except tornado.httpclient.HTTPError as error:
        codes.append(error.code)
    return str(codes)


def refused(path):
    """Without the option: Tornado's own error."""
    try:
        return fetch(path, 'named')
    except TypeError as error:
        return str(error)


def application(environ, start_response):
    how, path = environ['QUERY_STRING'].split(',')
    if how in ('awaited', 'refused'):
        text = globals()[how](path)
    else:
        text = fetch(path, how)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [text.encode()]
