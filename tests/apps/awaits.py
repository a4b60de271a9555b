"""Requests that wait for what runs on the worker's event loop. Each route answers with a text."""
import asyncio
import concurrent.futures
import contextvars
import gc
import sys
import threading
import time
import traceback
import urllib.parse

import uwsgi_tornado
from tornado.concurrent import Future as TornadoFuture
from uwsgi_tornado import await_, gather_, no_suspend, sleep, spawn, to_thread

loop = asyncio.get_event_loop()
variable = contextvars.ContextVar('variable', default='unset')
events = []  # What tasks have told, for a later request to read.


async def later(value, seconds=0.05):
    await asyncio.sleep(seconds)
    return value


async def fails(text):
    await asyncio.sleep(0)
    raise ValueError(text)


class Custom:
    """An awaitable that is no coroutine."""

    def __await__(self):
        yield from asyncio.sleep(0.01).__await__()
        return 'custom'


def resolved_later(future, value):
    loop.call_later(0.02, future.set_result, value)
    return future


def pool():
    return concurrent.futures.ThreadPoolExecutor(1)


def wait(query):
    return await_(later(query, 0.2))


def kinds(query):
    with pool() as threads:
        slow = threads.submit(time.sleep, 0.02), threads.submit(str, 'concurrent')
        concurrent_one = [await_(future) for future in slow][1]
    done = asyncio.Future(loop=loop)
    done.set_result('done')
    return ' '.join([
        await_(later('coroutine')), await_(loop.create_task(later('task'))), await_(done),
        await_(resolved_later(loop.create_future(), 'future')), await_(resolved_later(TornadoFuture(loop=loop), 'tornado')),
        await_(Custom()), concurrent_one])


def gathered(query):
    started = time.monotonic()
    with pool() as threads:
        values = gather_(*(later(n, 0.1) for n in range(20)), threads.submit(str, 'pool'))
    mixed = gather_(fails('no'), later(1), return_exceptions=True)
    return values, gather_(), [str(each) for each in mixed], time.monotonic() - started < 1


def gather_fails(query):
    try:
        gather_(later(1), fails('first'), fails('second'))
    except ValueError as error:
        return str(error)


def gather_timed_out(query):
    try:
        gather_(told(), told(), timeout=0.05)
    except asyncio.TimeoutError as error:
        return f'{type(error).__name__} {error.__context__}'


class Perpetual:
    """Garbage whose finaliser waits, and leaves the same behind."""

    left = 0

    def __init__(self):
        self.cycle = self

    def __del__(self):
        time.sleep(0.0005)
        if Perpetual.left > 0:
            Perpetual.left -= 1
            Perpetual()


def while_finalisers_wait(query):
    """The collector runs at each allocation, and what it runs lets the loop go on."""
    async def instant(value):
        return value

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    Perpetual.left = 3000
    for _ in range(3):
        Perpetual()
    try:
        for number in range(100):
            if gather_(instant(number), instant(-number), timeout=10) != [number, -number]:
                return 'wrong'
            if await_(instant(number), timeout=10) != number:
                return 'wrong'
    finally:
        Perpetual.left = 0
        gc.set_threshold(*threshold)
    return 'through'


class Switches(asyncio.Future):
    """One whose done() is asked with the collector on, and switches it off."""

    def done(self):
        gc.disable()
        return super().done()


class SwitchesLate(asyncio.Future):
    """The same when it is told whom to call; it is done then. (From 3.12 on gather() tells nothing to one that is done before.)"""

    def add_done_callback(self, *function, **context):
        gc.disable()
        super().add_done_callback(*function, **context)
        self.get_loop().call_soon(self.end)

    def end(self):
        if not self.done():
            self.set_result(None)


class DoneWhenAsked(asyncio.Future):
    """It is done as soon as somebody wants to be told, and takes its time to say so."""

    def add_done_callback(self, *function, **context):
        super().add_done_callback(*function, **context)
        if not self.done():
            self.set_result('done')
        time.sleep(0.05)


class Slow(asyncio.futures._PyFuture):
    """It is done while a callback is added to it, and does not have it yet."""

    def add_done_callback(self, function, *, context=None):
        pending = not self.done()
        loop.call_soon(self.set_result, 'done meanwhile')
        time.sleep(0.05)
        if pending:
            self._callbacks.append((function, context))


def future_that_switches_the_collector_off(query):
    wait, kind = {'await_': (await_, Switches), 'gather_': (gather_, SwitchesLate)}[query]
    future = kind(loop=loop)
    if kind is Switches:
        future.set_result(None)
    try:
        wait(future)
        return gc.isenabled()
    finally:
        gc.enable()


def gathered_while_they_end(query):
    return gather_(*(DoneWhenAsked(loop=loop) for _ in range(3)), timeout=5)


def future_done_meanwhile(query):
    began = time.monotonic()
    return await_(Slow(loop=loop), timeout=20), time.monotonic() - began < 10


def not_awaitable(query):
    try:
        await_(42)
    except TypeError as error:
        return str(error)


async def inner_coroutine():
    await fails('deep')


def outer_function():
    await_(inner_coroutine())


def joined_traceback(query):
    try:
        outer_function()
    except ValueError as error:
        return ' '.join(frame.name for frame in traceback.extract_tb(error.__traceback__))


async def told(seconds=30, clean_up=0.05):
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.sleep(clean_up)
        events.append('cleaned up')


def timed_out(query):
    events.clear()
    try:
        await_(told(), timeout=0.1)
    except TimeoutError as error:
        return f'{type(error).__name__} {events}'


async def stubborn():
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        return 'a result all the same'


def ignores_cancellation(query):
    return await_(stubborn(), timeout=0.05)


def never_cancelled(query):
    """A task that takes longer to clean up than it may."""
    started = time.monotonic()
    try:
        await_(told(clean_up=20), timeout=0.05)
    except TimeoutError:
        return 4 < time.monotonic() - started < 15


def in_time(query):
    return await_(later('in time'), timeout=20), await_(later('at once', 0), 0.5)


def future_timed_out(query):
    future = loop.create_future()
    try:
        await_(future, timeout=0.02)
    except TimeoutError:
        return future.cancelled()


def concurrent_timed_out(query):
    started = threading.Event()
    with pool() as threads:
        busy, waiting = threads.submit(started.wait), threads.submit(str)
        for future in (busy, waiting):
            try:
                await_(future, timeout=0.02)
            except TimeoutError:
                continue
        started.set()
    return busy.cancelled(), waiting.cancelled()


def cancelled(query):
    task = loop.create_task(asyncio.sleep(30))
    loop.call_later(0.02, task.cancel)
    try:
        await_(task)
    except asyncio.CancelledError:
        return 'CancelledError'


def context(query):
    async def reads_and_sets():
        seen = variable.get()
        variable.set('of the task')
        await asyncio.sleep(0.02)
        return seen, variable.get()

    variable.set(query)
    inside = await_(reads_and_sets())
    return *inside, variable.get(), *spawn(reads_and_changes).result(), variable.get(), to_thread(variable.get)


def reads_and_changes():
    seen = variable.get()
    variable.set('of the spawned')
    return seen, variable.get()


def sentence(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except RuntimeError as error:
        return str(error)


def refuses(query):
    async def on_the_hub():
        coroutine = later(1)
        with_coroutine = sentence(await_, coroutine)
        coroutine.close()
        return [with_coroutine, sentence(await_, concurrent.futures.Future()), sentence(gather_), sentence(sleep, 1), sentence(to_thread, time.sleep, 1)]

    future = loop.create_future()
    with no_suspend():
        guarded = sentence(await_, future)

    async def in_a_loop_of_its_own():
        return sentence(await_, future)

    with pool() as threads:
        on_a_thread = [threads.submit(sentence, *call).result() for call in ((await_, future), (spawn, print))]
    return '\n'.join([*await_(on_the_hub()), guarded, asyncio.run(in_a_loop_of_its_own()), *on_a_thread])


def spawned(query):
    seen = []

    def waits(value, *, more):
        seen.append(threading.get_ident())
        sleep(0.05)
        return await_(later(value + more))

    futures = [spawn(waits, str(n), more='.') for n in range(10)]
    failing = spawn(await_, fails('in a spawned function'))
    values = [await_(future) for future in futures]
    assert await_(spawn(tuple, 'ab')) == ('a', 'b')
    apart = threading.get_ident() not in seen and len(set(seen)) == 10
    return *values, apart, str(failing.exception())


def spawned_exit(query):
    return repr(spawn(sys.exit, 3).exception())


def spawned_by_a_callback(query):
    future = loop.create_future()

    def spawns():
        spawn(time.sleep, 0.02).add_done_callback(lambda done: loop.call_soon_threadsafe(future.set_result, 'slept'))

    loop.call_soon(spawns)
    return await_(future)


def threads(query):
    def where(more):
        return threading.get_native_id(), uwsgi_tornado is not None, more

    native, _, more = to_thread(where, more='keyword')
    try:
        to_thread(int, 'x')
    except ValueError as error:
        return native != threading.get_native_id(), more, str(error)


def run_until_complete(query):
    own = asyncio.get_event_loop()
    return own is loop, own.run_until_complete(later(query, 0.2)), running()


def own_loop(query):
    return asyncio.run(later(query, 0.2))


def running():
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def no_loop_seen(query):
    before = running()
    await_(later(1))
    return before, running(), spawn(running).result(), await_(asyncio.sleep(0, 'x')), to_thread(running)


def from_threads(query):
    """Real threads hand a hundred results over while the request waits for them."""
    futures = [loop.create_future() for _ in range(100)]

    def hand_over():
        for number, future in enumerate(futures):
            loop.call_soon_threadsafe(future.set_result, number)

    done = loop.run_in_executor(None, hand_over)
    total = sum(gather_(*futures))
    await_(done)
    return total, asyncio.run_coroutine_threadsafe(later('threadsafe'), loop).result(10)


class SlowToListen(asyncio.Future):
    """Done while add_done_callback() still waits for something else."""

    def add_done_callback(self, *args, **kwargs):
        super().add_done_callback(*args, **kwargs)
        loop.call_soon(self.set_result, 'done meanwhile')
        time.sleep(0.05)


def done_before_the_wait(query):
    began = time.monotonic()
    return await_(SlowToListen(loop=loop), timeout=20), time.monotonic() - began < 5


def application(environ, start_response):
    route, query = environ['PATH_INFO'].strip('/'), urllib.parse.unquote(environ['QUERY_STRING'])
    answer = globals()[route](query)
    body = (answer if isinstance(answer, str) else repr(answer)).encode()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
