"""What a worker has to do before it ends: requests, tasks, generators, threads, exit functions."""
import asyncio
import atexit
import os
import select
import threading
import time

import uwsgi
import uwsgi_tornado
from uwsgi_tornado import await_, spawn, stopping

# At import, in the master or, with --lazy-apps, in the worker.
descriptor = stopping.fileno()
at_import = stopping.is_set(), stopping.wait(0)


def say(text):
    print(f'{os.getpid()}: {text}', flush=True)


def at_exit():
    say(f'atexit, {stopping.is_set()}')


def at_uwsgi_exit():
    say('uwsgi.atexit')


if uwsgi.worker_id() == 0 or 'lazy-apps' in uwsgi.opt:
    atexit.register(at_exit)
uwsgi.atexit = at_uwsgi_exit


# --- What stays for the worker's end ---------------------------------------------------------------

async def task():
    try:
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(0.01)
        say('the task has cleaned up')


async def numbers():
    try:
        yield 1
    finally:
        await asyncio.sleep(0)
        say('the asynchronous generator is closed')


async def watch():
    await stopping
    say('a task knows')


left = []


def leave():
    generator = numbers()

    async def begin():
        left.extend([asyncio.ensure_future(task()), asyncio.ensure_future(watch()), generator])
        return await generator.__anext__()

    await_(begin())
    spawn(lambda: say('a spawned function knows') if stopping.wait(60) else None)
    threading.Thread(target=lambda: say(f'a thread knows: {stopping.wait()}')).start()
    return 'left'


# --- What requests do ------------------------------------------------------------------------------

def hold():
    """In flight whenever the worker begins to stop."""
    say('holds')
    stopping.wait(60)
    time.sleep(0.3)
    return 'held'


def sleep():
    say('sleeps')
    time.sleep(60)
    return 'slept'


def is_set():
    return f'{stopping.is_set()} {at_import} {stopping.wait(0.01)} {stopping.wait(timeout=-1)} {descriptor == stopping.fileno()}'


def wait():
    say('waits')
    return f'{stopping.wait(60)} {stopping.wait()} {stopping.is_set()}'


def poll():
    say('waits')
    readable, _, _ = select.select([stopping], [], [], 60)
    return f'{readable == [stopping]} {stopping.wait(60)} {stopping.is_set()}'


async def awaited():
    say('waits')
    first = await asyncio.wait_for(stopping, 60)
    return f'{first} {await stopping} {stopping.is_set()}'


def await_it():
    return await_(awaited())


def run():
    """On another loop than the worker's."""
    return asyncio.run(awaited())


async def cancelled():
    try:
        await asyncio.wait_for(stopping, 0.01)
    except asyncio.TimeoutError:
        return 'in time'


def cancel():
    return await_(cancelled())


def refused():
    """Where it cannot be waited for."""
    async def waits():
        stopping.wait(60)

    said = []
    for attempt in (lambda: await_(waits()), lambda: asyncio.run(waits()), guarded, lambda: stopping.__await__()):
        try:
            attempt()
        except RuntimeError as error:
            said.append(str(error).split(':')[0])
    return '\n'.join(said)


def guarded():
    with uwsgi_tornado.no_suspend():
        stopping.wait(60)


def fork():
    """A child has an event of its own."""
    pid = os.fork()
    if pid == 0:
        good = not stopping.wait(0.01) and select.select([stopping], [], [], 0)[0] == []
        os._exit(0 if good else 1)
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def fork_and_terminate():
    """A child that gets a worker's signal is still a child."""
    mine, childs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(childs, b'x')
        time.sleep(60)
        os._exit(0)
    os.read(mine, 1)
    os.kill(pid, 15)
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def reload():
    uwsgi.reload()
    return 'asked'


def events():
    """A stream that ends well."""
    try:
        yield b'first\n'
        while not stopping.wait(0.02):
            yield b'event\n'
        yield b'last\n'
    finally:
        say('the events are closed')


def endless():
    """One that does not look."""
    try:
        while True:
            yield b'more\n'
            time.sleep(0.02)
    finally:
        say('the endless stream is closed')


STREAMS = {'/events': events, '/endless': endless}
PLAIN = {f'/{function.__name__}': function for function in
         (leave, hold, sleep, is_set, wait, poll, await_it, run, cancel, refused, fork, fork_and_terminate, reload)}


def application(environ, start_response):
    path = environ['PATH_INFO']
    if path in STREAMS:
        start_response('200 OK', [('Content-Type', 'text/event-stream')])
        return STREAMS[path]()
    body = PLAIN[path]().encode()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
