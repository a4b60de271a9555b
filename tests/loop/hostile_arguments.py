"""Calls what the module gives with arguments of every wrong kind: errors of Python's are right, a crash is not.

    python3 tests/loop/hostile_arguments.py SEED CALLS

Runs in a process of its own, which it may leave in any state; the last line says how many calls were made. What it was
about to call is in the file that HOSTILE_TRACE names, for a process that dies.
"""
import asyncio
import collections
import datetime
import functools
import gc
import logging
import os
import random
import signal
import socket
import sys
import warnings

import uwsgi_tornado
from uwsgi_tornado import EventLoop, IOLoop, PeriodicCallback

# What would wait for ever, end the process, start others, or leave it with other signals.
LEFT_OUT = {'run_forever', 'start', 'run', 'subprocess_exec', 'subprocess_shell', '_live', 'connect_read_pipe', 'connect_write_pipe',
            'sendfile', 'blocking_report', 'dump', '_start_fetch', 'AsyncHTTPClient', 'set_default_executor', 'run_in_executor', 'to_thread',
            'getaddrinfo', 'getnameinfo', 'install', 'shutdown_default_executor', 'sleep', 'default_exception_handler', 'close', 'wait'}


class Fails:
    """Raises whatever is asked of it."""
    def fail(self, *args, **kwargs):
        raise LookupError('on purpose')
    __call__ = __len__ = __iter__ = __index__ = __float__ = __bool__ = __str__ = __repr__ = __eq__ = __hash__ = __lt__ = __await__ = fail
    fileno = __next__ = __getattr__ = fail


class Lies:
    """Answers with what it should not."""
    def __call__(self, *args, **kwargs):
        return self
    fileno = __len__ = __index__ = __float__ = __iter__ = __await__ = __call__
    __hash__ = None


class Closes:
    """Changes under the feet of who asks it."""
    def __init__(self, loop):
        self.loop = loop

    def fileno(self):
        gc.collect()
        return self.loop.remove_reader(0) or 0

    def __index__(self):
        gc.collect()
        return 10 ** 9

    def __call__(self, *args, **kwargs):
        self.loop.call_soon(self)
        self.loop.stop()

    __float__ = __index__


async def coroutine():
    await asyncio.sleep(0)


def recursive():
    nested = []
    nested.append(nested)
    return nested


def values(rng, loop, pair):
    return rng.choice([
        lambda: None, lambda: rng.choice([0, 1, -1, 2 ** 31, 2 ** 31 - 1, 2 ** 63, -2 ** 63 - 1, 10 ** 400, True]),
        lambda: rng.choice([0.0, -1.0, float('nan'), float('inf'), -float('inf'), 1e308, 5e-324, 1e-9]),
        lambda: rng.choice(['', 'x', '\0', '\ud800', 'http://', 'http://127.0.0.1:1/', 'http://[', 'ftp://x', 'GET', 'x' * 100000]),
        lambda: rng.choice([b'', b'\0', bytearray(b'x'), memoryview(b'xyz')[::2]]), lambda: rng.choice([(), [], {}, set(), recursive()]),
        lambda: {rng.choice(['a', 1, None, 'Host']): rng.choice(['x\r\ny: z', None, 5, b'x'])}, Fails, Lies, lambda: Closes(loop), object,
        lambda: pair[rng.randrange(2)], lambda: rng.choice([-1, 0, 3, 1023, 10 ** 6]), lambda: loop, lambda: asyncio.Future(loop=loop),
        lambda: rng.choice([int, type, EventLoop, print, len]), lambda: functools.partial(len), lambda: functools.partial(Fails()),
        lambda: (lambda *args: None), lambda: loop.call_later(1000, len), lambda: loop.call_soon(len), coroutine, coroutine(),
        lambda: datetime.timedelta(seconds=rng.choice([0, -5, 10 ** 9])), lambda: signal.SIGUSR1, lambda: IOLoop.current(),
        lambda: rng.choice([sys.modules, gc, uwsgi_tornado.stopping]), lambda: collections.OrderedDict(a=1), lambda: Exception,
    ])


def make(rng, loop, pair):
    made = values(rng, loop, pair)
    return made() if callable(made) else made


KEYWORDS = ['callback', 'timeout', 'context', 'deadline', 'delay', 'name', 'events', 'handler', 'fd', 'when', 'stream', 'headers', 'body',
            'method', 'url', 'coro', 'loop', 'return_when', 'sock', 'sig', 'request_timeout', 'max_redirects', 'allow_nonstandard', 'family']


def targets(loop):
    ioloop = IOLoop.current()
    handle, timer = loop.call_soon(len), loop.call_later(1000, len)
    periodic = PeriodicCallback(len, 1000)
    for of in (loop, ioloop, handle, timer, periodic, uwsgi_tornado.stopping, uwsgi_tornado.EventLoopPolicy(), uwsgi_tornado,
               IOLoop, PeriodicCallback, EventLoop, uwsgi_tornado.Response, uwsgi_tornado.Handle, uwsgi_tornado.TimerHandle):
        for name in dir(of):
            if name in LEFT_OUT or (name.startswith('__') and name not in ('__init__', '__call__', '__repr__', '__eq__', '__lt__', '__hash__')):
                continue
            if name.startswith('_') and not name.startswith('__') and of in (loop, EventLoop, uwsgi_tornado):
                continue  # asyncio's own, which may trust its callers.
            called = getattr(of, name, None)
            if callable(called) and not (isinstance(called, type) and issubclass(called, BaseException)):
                yield f'{getattr(of, "__name__", type(of).__name__)}.{name}', called


def end(result, loop):
    """What a call gave is not left for the collector to complain about."""
    if asyncio.iscoroutine(result):
        result.close()
    elif asyncio.isfuture(result) and not result.done():
        result.cancel()


def turn(loop, outcomes):
    loop.call_soon(loop.stop)
    try:
        loop.run_forever()
    except Exception as error:  # A callback that cannot be described either: asyncio lets that out, too.
        outcomes[f'{type(error).__name__} in a turn'] += 1


def main(seed, calls):
    warnings.simplefilter('ignore')
    logging.disable()
    sys.unraisablehook = lambda unraisable: None
    rng = random.Random(seed)
    trace = open(os.environ.get('HOSTILE_TRACE', os.devnull), 'w')
    outcomes = collections.Counter()
    taken = collections.defaultdict(set)  # How many arguments a call has got by with.
    made = 0
    while made < calls:
        loop = uwsgi_tornado.EventLoop()
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(lambda loop, context: outcomes.update(['told to the handler']))
        pair = socket.socketpair()
        known = list(targets(loop))
        for _ in range(min(400, calls - made)):
            name, called = rng.choice(known)
            count = rng.choice(sorted(taken[name])) if taken[name] and rng.random() < 0.8 else rng.choice([0, 1, 1, 2, 2, 3, 5])
            args = [make(rng, loop, pair) for _ in range(count)]
            if args and name.startswith(('IOLoop.', 'EventLoop.')) and type(getattr(called, '__self__', None)) is type(None):
                args[0] = rng.choice([loop, IOLoop.current(), args[0]])  # A function of the class.
            kwargs = {rng.choice(KEYWORDS): make(rng, loop, pair) for _ in range(rng.choice([0] * 8 + [1, 2]))}
            trace.seek(0)
            trace.truncate()
            trace.write(f'{seed} {made} {name} {[type(a).__name__ for a in args]} {list(kwargs)}\n')
            trace.flush()
            made += 1
            if 'run' in name:  # Of a future that nobody sets, say.
                loop.call_later(0.02, loop.stop)
            try:
                result = called(*args, **kwargs)
                outcomes['returned'] += 1
                taken[name].add(count)
                end(result, loop)
            except Exception as error:
                outcomes[type(error).__name__] += 1
                if not isinstance(error, TypeError):
                    taken[name].add(count)
                assert not isinstance(error, SystemError), (name, error)
            if rng.random() < 0.02:
                turn(loop, outcomes)
            if rng.random() < 0.01:
                gc.collect()
        loop.set_exception_handler(None)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        for one in pair:
            one.close()
        loop.close()
        signal.set_wakeup_fd(-1)
    print(made, dict(outcomes))


if __name__ == '__main__':
    main(int(sys.argv[1]), int(sys.argv[2]))
