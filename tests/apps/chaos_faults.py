"""What is done to the worker of chaos.py beside its requests: CHAOS_FAULTS=signals,children,profile,..."""
import asyncio
import cProfile
import contextlib
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import uwsgi
import uwsgi_tornado

WANTED = [name for name in os.environ.get('CHAOS_FAULTS', '').split(',') if name]
seen = {'SIGALRM': 0, 'SIGPROF': 0, 'SIGCHLD': 0, 'children': 0, 'calls': 0, 'callbacks': 0, 'threads': 0,
        'handlers in requests': 0}
numbers = itertools.count()


def on_signal(number, frame):
    """Runs on the worker's loop, as on a main thread."""
    seen[signal.Signals(number).name] += 1
    while frame is not None:
        seen['handlers in requests'] += frame.f_code.co_name == 'application'
        frame = frame.f_back
    assert threading.current_thread() is threading.main_thread()


def signals():
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, on_signal)
        signal.siginterrupt(number, True)
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)


def children():
    """SIGCHLD storms, with a handler of Python's."""
    signal.signal(signal.SIGCHLD, on_signal)

    def spawn():
        while True:
            with contextlib.suppress(OSError):
                subprocess.run(['true'])
            seen['children'] += 1
            time.sleep(0.002)

    threading.Thread(target=spawn, daemon=True).start()


def callbacks():
    """Callbacks of the loop's and the collector's that fail."""
    def fails(*_):
        seen['callbacks'] += 1
        raise MemoryError('in a callback')

    async def forever():
        loop = asyncio.get_running_loop()
        while True:
            loop.call_soon(fails)
            future = loop.create_future()
            future.add_done_callback(fails)
            future.set_result(None)
            await asyncio.sleep(0.01)

    gc.callbacks.append(fails)
    uwsgi_tornado.spawn(lambda: uwsgi_tornado.await_(forever()))


def start():
    for name in WANTED:
        if name in STARTED:
            STARTED[name]()


STARTED = {'signals': signals, 'children': children, 'callbacks': callbacks}


@contextlib.contextmanager
def wrap():
    """Round each request."""
    number = next(numbers)
    with contextlib.ExitStack() as stack:
        if 'threads' in WANTED:
            def outlives():
                time.sleep(0.1)
                seen['threads'] += 1

            threading.Thread(target=outlives).start()
        if 'profile' in WANTED and number % 2:
            try:
                stack.enter_context(cProfile.Profile())
            except ValueError:  # From 3.12 on a process has one of them at a time.
                assert sys.version_info >= (3, 12)
        elif 'profile' in WANTED:
            ident = threading.get_ident()

            def profiler(frame, event, argument):
                seen['calls'] += 1
                assert threading.get_ident() == ident

            sys.setprofile(profiler)
            stack.callback(sys.setprofile, None)
        yield


if WANTED:
    uwsgi.post_fork_hook = start  # Also where there is no master.
