"""Requests that wait, so that the page that uwsgi.ini mounts has something to show."""
import threading
import time
import urllib.request

one_at_a_time = threading.Lock()


def application(environ, start_response):
    path, seconds = environ['PATH_INFO'], float(environ['QUERY_STRING'].partition('&')[0] or 5)
    if path == '/wait':
        time.sleep(seconds)
    elif path == '/fetch':  # Waits for the answer of another request.
        urllib.request.urlopen(f'http://127.0.0.1:{environ["SERVER_PORT"]}/wait?{seconds}').close()
    elif path == '/lock':  # The next one waits for this one.
        with one_at_a_time:
            time.sleep(seconds)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'see /_tornado/\n' if path == '/' else b'waited\n']
