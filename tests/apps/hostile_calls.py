"""Calls what waits, from a request, with arguments of every wrong kind; beside it routes that tell how the worker is."""
import asyncio
import collections
import gc
import pathlib
import random
import socket
import sys

import uwsgi_tornado

from bad import good, leave, pid, together  # For health.py.

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'loop'))
from hostile_arguments import KEYWORDS, end, make  # noqa: E402

CALLED = ['await_', 'gather_', 'spawn', 'shield', 'fetch', 'to_thread', 'is_connected', 'no_suspend', 'fibers', 'dump', 'run', 'fetch_async']
BOUNDED = {'await_': {'timeout': 0.01}, 'gather_': {'timeout': 0.01}, 'fetch': {'request_timeout': 0.05}}


def calls(environ, start_response):
    rng = random.Random(environ['QUERY_STRING'])
    other_loop, pair, outcomes = asyncio.SelectorEventLoop(), socket.socketpair(), collections.Counter()
    for _ in range(200):
        name = rng.choice(CALLED)
        args = [make(rng, other_loop, pair) for _ in range(rng.choice([0, 1, 1, 1, 2, 3]))]
        kwargs = {rng.choice(KEYWORDS): make(rng, other_loop, pair)} if rng.random() < 0.2 else {}
        try:
            end(getattr(uwsgi_tornado, name)(*args, **{**kwargs, **BOUNDED.get(name, {})}), other_loop)
            outcomes['returned'] += 1
        except (Exception, asyncio.CancelledError) as error:
            outcomes[type(error).__name__] += 1
    for one in pair:
        one.close()
    other_loop.close()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [f'{sum(outcomes.values())} {dict(outcomes)}'.encode()]


def collect(environ, start_response):
    """Event loops that were made by the way, in functions that were to be called."""
    gc.collect()
    return good(environ, start_response)


ROUTES = {f'/{route.__name__}': route for route in (calls, collect, leave, pid, together)}


def application(environ, start_response):
    return ROUTES.get(environ['PATH_INFO'], good)(environ, start_response)
