"""A page that draws what this worker does, and requests that wait, to be drawn."""
import json
import pathlib
import time

import uwsgi
import uwsgi_tornado

PAGE = pathlib.Path(__file__).with_name('page.html').read_bytes()
METRICS = ('cores_used', 'cores_free', 'cores_peak', 'running', 'parked', 'loop_lag_us', 'busy_percent', 'refused')
EVERY_S = 0.5
SLOWEST = 10


def view():
    prefix = f'worker.{uwsgi.worker_id()}.tornado.'
    requests = [fiber for fiber in uwsgi_tornado.fibers() if fiber['core'] is not None and fiber['uri'] != '/events']
    requests.sort(key=lambda fiber: fiber['age'], reverse=True)
    return {
        'worker': uwsgi.worker_id(),
        'requests': len(requests),
        'metrics': {name: uwsgi.metric_get(prefix + name) for name in METRICS},
        'slowest': requests[:SLOWEST],
    }


def events():
    """Ends with the worker: the browser connects again, to the one that comes next."""
    yield b'retry: 500\n\n'
    while True:
        yield b'data: ' + json.dumps(view()).encode() + b'\n\n'
        if uwsgi_tornado.stopping.wait(timeout=EVERY_S):
            return


def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/events':
        start_response('200 OK', [('Content-Type', 'text/event-stream'), ('Cache-Control', 'no-store'), ('X-Accel-Buffering', 'no')])
        return events()
    if path == '/wait':
        time.sleep(float(environ['QUERY_STRING'] or 5))
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return [b'waited\n']
    if path == '/':
        start_response('200 OK', [('Content-Type', 'text/html; charset=utf-8')])
        return [PAGE]
    start_response('404 Not Found', [('Content-Type', 'text/plain')])
    return [b'not here\n']
