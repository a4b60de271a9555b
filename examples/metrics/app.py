"""Serves the metrics of all workers to Prometheus at /metrics. The application answers all other paths."""
import time

import uwsgi

NAMES = {
    'cores_used': ('gauge', 'Cores that serve a connection.'),
    'cores_free': ('gauge', 'Cores without a connection.'),
    'cores_peak': ('gauge', 'The most cores ever used at once.'),
    'running': ('gauge', 'Requests that run or wait for their turn.'),
    'parked': ('gauge', 'Requests that wait for something.'),
    'queue_full_ms': ('counter', 'Milliseconds for which no core was free.'),
    'refused': ('counter', 'Connections refused because no core was free.'),
    'loop_lag_us': ('gauge', 'The worst delay of any timer or event in the last two seconds, in microseconds.'),
    'busy_percent': ('gauge', 'Share of the last second in which the loop did not sleep.'),
    'switches': ('counter', 'Times that a request began or resumed.'),
    'preempted': ('counter', 'Times that a computing request gave way.'),
    'stack_peak': ('gauge', 'The deepest use of any stack, in bytes.'),
}


def lines():
    for name, (kind, help_text) in NAMES.items():
        full = f'uwsgi_tornado_{name}'
        yield f'# HELP {full} {help_text}'
        yield f'# TYPE {full} {kind}'
        for worker in range(1, uwsgi.numproc + 1):
            value = uwsgi.metric_get(f'worker.{worker}.tornado.{name}')
            yield f'{full}{{worker="{worker}"}} {value}'


def application(environ, start_response):
    if environ['PATH_INFO'] == '/metrics':
        start_response('200 OK', [('Content-Type', 'text/plain; version=0.0.4; charset=utf-8')])
        return ['\n'.join(lines()).encode() + b'\n']
    time.sleep(0.1)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'waited\n']
