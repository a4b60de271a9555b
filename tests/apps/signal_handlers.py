"""Handlers of the process's signals: Python's, and those of the worker's event loop, one of them set at import.

A route is a function of this module; a coroutine runs on the loop, which is Python's main thread.
"""
import asyncio
import inspect
import os
import signal
import time

import uwsgi_tornado

AT_IMPORT, IN_WORKER = signal.SIGRTMIN + 1, signal.SIGRTMIN + 2
loop = asyncio.get_event_loop()


def say(what):
    os.write(2, b'%s in %d\n' % (what.encode(), os.getpid()))


signal.signal(signal.SIGALRM, lambda *_: say('alarm'))
loop.add_signal_handler(AT_IMPORT, say, 'set at import')


async def add():
    loop.add_signal_handler(IN_WORKER, say, 'set in the worker')


async def remove():
    assert loop.remove_signal_handler(AT_IMPORT)
    loop.remove_signal_handler(IN_WORKER)


async def remove_and_fail_to_add():
    await remove()
    try:
        loop.add_signal_handler(signal.SIGKILL, print)
    except (OSError, RuntimeError, ValueError):
        return
    raise AssertionError('SIGKILL has a handler')


def signal_and_rest():
    """A signal that comes in a callback, between the look for signals and the poll."""
    uwsgi_tornado.await_(asyncio.sleep(0))
    os.kill(os.getpid(), signal.SIGALRM)
    time.sleep(0.5)
    say('rested')


def signal_a_child():
    """A child that gets a signal the loop has a handler for, and ends before it could run one."""
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), IN_WORKER)
        os._exit(0)
    os.waitpid(child, 0)


def application(environ, start_response):
    called = globals()[environ['PATH_INFO'].strip('/')]()
    if inspect.isawaitable(called):
        uwsgi_tornado.await_(called)
    start_response('200 OK', [])
    return [b'done']
