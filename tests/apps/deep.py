"""Requests that recurse deeply, and what that leaves behind.

A route is a function of this module; its argument is the query, its result the body.
"""
import contextlib
import ctypes
import faulthandler
import json
import os
import sys
import threading

import uwsgi
import uwsgi_tornado
from recursions import ENDLESS, ENDS, in_hash_of_nested, in_sort_key

try:
    import greenlet
except ImportError:
    greenlet = None

MEET_S = 100

parties = {}
parties_lock = threading.Lock()


def meet(name, count):
    with parties_lock:
        party = parties.setdefault(name, threading.Barrier(count))
    party.wait(MEET_S)


def recurse(query):
    """The kind that the query names, with &greenlet in a greenlet, with &task in a task of the worker's
    loop; an error is the server's to answer."""
    name, _, where = query.partition('&')
    kind = {**ENDLESS, **ENDS}[name]

    async def in_task():
        kind()

    if where == 'greenlet':
        greenlet.greenlet(kind).switch()
    elif where == 'task':
        uwsgi_tornado.await_(in_task())
    else:
        kind()
    return 'ended'


def kinds(_):
    return json.dumps({'endless': list(ENDLESS), 'ends': list(ENDS)})


def deep_together(query):
    """Requests that all wait at the bottom of a deep recursion through C."""
    count, levels = map(int, query.split('&'))

    def deeper(left):
        if left == 0:
            meet('bottom', count + 1)
            meet('measured', count + 1)
            return 0
        return sorted([left - 1], key=deeper)[0]

    deeper(levels)
    return 'ended'


def meet_at_the_bottom(query):
    meet('bottom', int(query) + 1)
    return 'met'


def waiting_at_the_bottom(_):
    party = parties.get('bottom')
    return str(party.n_waiting if party else 0)


def let_go(query):
    meet('measured', int(query) + 1)
    return 'gone'


def resident_kib(_):
    with open('/proc/self/status') as status:
        return next(line for line in status if line.startswith('RssAnon:')).split()[1]


def sort_deep(levels):
    sys.setrecursionlimit(5000)

    reached = 0

    def deeper(left):
        nonlocal reached
        reached += 1
        return sorted([left - 1], key=deeper)[0] if left > 1 else 0

    deeper(int(levels))
    return str(reached)


def overrun(_):
    """As deep as the stack is: recursion that CPython does not bound."""
    in_hash_of_nested(1_000_000)


def sort_without_limit(_):
    """More than Python allows by default."""
    sys.setrecursionlimit(1_000_000)
    in_sort_key(1)


def overrun_in_greenlet(_):
    greenlet.greenlet(overrun).switch(0)


def overrun_beside(_):
    uwsgi_tornado.spawn(overrun, 0).result()


def overrun_in_c(_):
    """C that calls itself, with the GIL given up."""
    ctypes.CDLL(os.environ['RECURSION']).recurse(1 << 30)


def overrun_with_alloca(size):
    ctypes.CDLL(os.environ['RECURSION']).take(int(size))


def overrun_after_faulthandler(_):
    faulthandler.enable()
    overrun(0)


def fault(_):
    ctypes.string_at(8)


def signal_itself(_):
    os.kill(os.getpid(), 11)


def fault_after_faulthandler(_):
    faulthandler.enable()
    fault(0)


def wait(query):
    meet('wait', int(query))
    return 'waited'


def hello(_):
    return 'hello'


def pid(_):
    return str(os.getpid())


def greenlets_recurse(count):
    """All of them suspended at first, so that none has the stack of another."""
    def recurse_in(back):
        back.switch()
        with contextlib.suppress(RecursionError):
            in_sort_key(1)

    made = [greenlet.greenlet(recurse_in) for _ in range(int(count))]
    for each in [*made, *made]:
        each.switch(greenlet.getcurrent())
    return 'ended'


def peak(worker):
    return str(uwsgi.metric_get(f'worker.{worker}.tornado.stack_peak'))


def application(environ, start_response):
    body = globals()[environ['PATH_INFO'][1:]](environ['QUERY_STRING']).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
