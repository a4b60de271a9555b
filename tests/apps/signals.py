"""Handlers of uWSGI's signals, and requests that raise signals and wait for them."""
import os
import time

import uwsgi

WAIT, RAISE, TIMER, ELSEWHERE = 1, 2, 3, 4
handled = {WAIT: 0, RAISE: 0, TIMER: 0}


def waits(number):
    time.sleep(0.05)
    handled[number] += 1


def raises(number):
    handled[number] += 1
    raise SystemExit('in a handler')


def tells(number):
    handled[number] += 1
    print(f'timer {handled[number]} in {os.getpid()}', flush=True)


uwsgi.register_signal(WAIT, 'worker', waits)
uwsgi.register_signal(RAISE, 'worker', raises)
uwsgi.register_signal(TIMER, 'worker', tells)
uwsgi.register_signal(ELSEWHERE, 'workers', lambda number: print(f'worker {uwsgi.worker_id()} has it', flush=True))
uwsgi.add_timer(TIMER, 1)


def application(environ, start_response):
    """Raises the signal the query names and waits until its handler has ended."""
    path, query = environ['PATH_INFO'], environ['QUERY_STRING']
    if path == '/signal':
        before = handled[int(query)]
        uwsgi.signal(int(query))
    elif path == '/timer':
        before = handled[TIMER]
        query = TIMER
    elif path == '/all':
        uwsgi.signal(ELSEWHERE)
    elif path == '/wait':
        time.sleep(float(query))
    elif path == '/reload':
        uwsgi.reload()
    deadline = time.monotonic() + 10
    while path in ('/signal', '/timer') and handled[int(query)] == before and time.monotonic() < deadline:
        time.sleep(0.005)
    start_response('200 OK', [])
    return [b'late' if time.monotonic() >= deadline and path in ('/signal', '/timer') else b'done']
