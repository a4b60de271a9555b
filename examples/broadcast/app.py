"""A page fetched again and again in the background, sent to all websockets."""
import os
import pathlib
import threading

import requests
import uwsgi
from uwsgi_tornado import IOLoop, spawn, stopping

SERVICES = os.environ.get('SERVICES', 'http://127.0.0.1:9090/load')
EVERY_S = float(os.environ.get('SECONDS', 3))
PAGE = pathlib.Path(__file__).with_name('page.html').read_bytes()


class Latest:
    """The page fetched last. A slow reader misses some pages, but does not delay others."""

    def __init__(self):
        self.number, self.text = 0, ''
        self.news = threading.Condition()

    def put(self, text):
        with self.news:
            self.number, self.text = self.number + 1, text
            self.news.notify_all()

    def after(self, number):
        """Returns (number, text) once there is a new page, or the old one after a while."""
        with self.news:
            self.news.wait_for(lambda: self.number > number, timeout=EVERY_S)
            return self.number, self.text


latest = Latest()


def fetch_for_ever():
    while True:
        try:
            page = requests.get(SERVICES, timeout=5)
            page.raise_for_status()
            latest.put(page.text)
        except requests.RequestException as error:
            print('not fetched:', error)  # Readers keep the last page.
        if stopping.wait(timeout=EVERY_S):
            return


IOLoop.instance().add_callback(lambda: spawn(fetch_for_ever))  # In each worker, whose loop takes this over.


def feed():
    uwsgi.websocket_handshake()
    seen = 0
    try:
        while True:
            number, text = latest.after(seen)
            if number > seen:
                uwsgi.websocket_send(text)
                seen = number
            uwsgi.websocket_recv_nb()  # Answers pings. Raises if the reader has disconnected or this worker ends.
    except uwsgi.WebSocketClosed:
        pass
    return []


def application(environ, start_response):
    if 'HTTP_UPGRADE' in environ:
        return feed()
    if environ['PATH_INFO'] == '/load':
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return [' '.join(f'{load:.2f}' for load in os.getloadavg()).encode()]
    start_response('200 OK', [('Content-Type', 'text/html; charset=utf-8')])
    return [PAGE]
