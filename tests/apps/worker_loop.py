"""What a module does with the event loop at import, and what requests leave on it."""
import asyncio
import os
import sys
import threading
import time

import uwsgi
from uwsgi_tornado import await_

loop = asyncio.get_event_loop()
ran_at_import = loop.run_until_complete(asyncio.sleep(0, os.getpid()))
beats = 0


def say(text):
    print(text, flush=True)


async def beat():
    global beats
    say(f'the task of import runs in {os.getpid()}')
    while True:
        await asyncio.sleep(0.01)
        beats += 1


task = loop.create_task(beat())


async def later(value):
    await asyncio.sleep(0.02)
    return value


def identity():
    time.sleep(0.2)  # So that requests at once need more than one worker.
    before = beats
    await_(asyncio.sleep(0.05))
    same = asyncio.get_event_loop() is loop and loop.is_running() and await_(running_loop()) is loop
    return f'{os.getpid()} {same} {beats > before} {not task.done()}'


async def running_loop():
    return asyncio.get_running_loop()


# --- What callbacks must not do ------------------------------------------------------------------

def raises(error):
    def callback():
        raise error
    return callback


def errors():
    """Callbacks that raise; what comes after them in the same turn runs all the same."""
    for error in (ValueError('in a callback'), SystemExit('out of a callback'), KeyboardInterrupt('from a callback')):
        loop.call_soon(raises(error))
        assert await_(later('after')) == 'after'
        loop.call_later(0.01, raises(error))

    async def exits():
        sys.exit(7)

    failing = loop.create_task(exits())
    try:
        await_(failing)
    except SystemExit as error:
        return f'{os.getpid()} {error.code} {await_(later("alive"))}'


def unawaited_error():
    async def fails():
        raise LookupError('that nobody asked for')

    loop.create_task(fails())
    return await_(later('done'))



def debug():
    said = [loop.get_debug()]
    with_threads = threading.Thread(target=wrong_thread, args=(said,))
    with_threads.start()
    with_threads.join()
    loop.call_soon(time.sleep, 0.15)
    return said + [await_(later('done'))]


def wrong_thread(said):
    try:
        loop.call_soon(print)
    except RuntimeError as error:
        said.append(str(error))


# --- A child ---------------------------------------------------------------------------------------

def forked():
    mine, childs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(childs, repr(in_child()).encode())
        except BaseException as error:
            os.write(childs, repr(error).encode())
        os._exit(0)
    os.close(childs)
    said = b''
    while chunk := os.read(mine, 1000):
        said += chunk
    os.close(mine)
    os.waitpid(pid, 0)
    return said.decode(), await_(later('the parent goes on'))


def in_child():
    waited = asyncio.run(later('in a child'))
    future = later('never')
    try:
        await_(future)
    except RuntimeError as error:
        return waited, type(error).__name__
    finally:
        future.close()


# --- The end ----------------------------------------------------------------------------------------

left = []


async def never_ends(name, ending):
    try:
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(0.05)
        say(f'{name} has cleaned up')
        ending()


async def numbers():
    try:
        for number in range(1000):
            yield number
    finally:
        await asyncio.sleep(0)
        say('the generator is closed')


async def first_of(generator):
    return await generator.__anext__()


def leave():
    """Things for the end of the worker."""
    generator = numbers()
    left.extend([
        loop.create_task(never_ends('one', lambda: None)),
        loop.create_task(never_ends('two', raises(ValueError('at the end')))),
        generator])
    return await_(first_of(generator)), await_(later('left'))


def wait():
    return await_(asyncio.sleep(0.5, 'waited'))


def spool():
    uwsgi.spool({b'to': b'spooler'})
    return 'spooled'


def spooler(environ):
    say(f'spooler: {asyncio.get_event_loop() is loop} {loop.run_until_complete(later(1))} {asyncio.run(later(2))}')
    return uwsgi.SPOOL_OK


uwsgi.spooler = spooler


def application(environ, start_response):
    answer = globals()[environ['PATH_INFO'].strip('/')]()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [(answer if isinstance(answer, str) else repr(answer)).encode()]
