"""What those who run a server look at: metrics, logs, alarms."""
import threading
import time

import uwsgi

released = threading.Event()
all_in = threading.Barrier(50)  # As many as the test asks.


def count(environ):
    """One metric for all; it waits between reading and telling."""
    uwsgi.metric_inc('served')
    time.sleep(0.05)
    return str(uwsgi.metric_get('served'))


def metric(environ):
    return str(uwsgi.metric_get(environ['QUERY_STRING']))


def log(environ):
    """Each notes its own number, before and after a wait for the others."""
    uwsgi.set_logvar('before', environ['QUERY_STRING'])
    all_in.wait(60)
    uwsgi.set_logvar('after', environ['QUERY_STRING'])
    return str(environ['uwsgi.core'])


def alarm(environ):
    uwsgi.alarm('bell', 'rung by ' + environ['QUERY_STRING'])
    return 'rung'


def say(environ):
    print('said', environ['QUERY_STRING'], flush=True)
    return 'said'


def hold(environ):
    released.wait()
    return 'released'


def release(environ):
    released.set()
    return ''


def quick(environ):
    return 'quick'


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [globals()[environ['PATH_INFO'].strip('/')](environ).encode()]
