"""What asyncio, asgiref and anyio hand to threads of a pool, in coroutines of the worker's loop."""
import asyncio
import concurrent.futures
import hashlib
import threading
import time

import anyio
import anyio.from_thread
import anyio.to_thread
from asgiref.sync import ThreadSensitiveContext, sync_to_async

import uwsgi_tornado
from uwsgi_tornado import await_

from router import serve

WAIT_S = 0.2
local = threading.local()


def nap():
    time.sleep(WAIT_S)
    return threading.get_native_id() == worker_thread


def on_workers_thread():
    return threading.get_native_id() == worker_thread


def at_once(count, make):
    """Whether all ran on the worker's own thread, and how long they took together."""
    async def gather():
        return await asyncio.gather(*(make() for _ in range(count)))

    begun = time.monotonic()
    answers = await_(gather())
    return all(answers), time.monotonic() - begun


def executor(count):
    return at_once(count, lambda: asyncio.get_running_loop().run_in_executor(None, nap))


def to_thread(count):
    return at_once(count, lambda: asyncio.to_thread(nap))


def asgiref(count):
    return at_once(count, lambda: sync_to_async(nap, thread_sensitive=False)())


def anyio_threads(count):
    return at_once(count, lambda: anyio.to_thread.run_sync(nap))


def anyio_limited(count):
    """A limiter that the application gives is kept to."""
    async def gather():
        limiter = anyio.CapacityLimiter(2)
        begun = time.monotonic()
        await asyncio.gather(*(anyio.to_thread.run_sync(nap, limiter=limiter) for _ in range(4)))
        return time.monotonic() - begun >= 2 * WAIT_S

    return await_(gather())


def anyio_back(count):
    """From the thread into the loop again, and out."""
    async def double(n):
        await asyncio.sleep(0.01)
        return 2 * n, asyncio.get_running_loop() is asyncio.get_event_loop()

    def in_thread():
        return anyio.from_thread.run(double, 4)

    async def there():
        return await anyio.to_thread.run_sync(in_thread)

    return await_(there())


def results(count):
    async def several():
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(None, lambda: 'right')
        try:
            await loop.run_in_executor(None, lambda: 1 / 0)
        except ZeroDivisionError as error:
            wrong = repr(error)
        try:
            await loop.run_in_executor(None, asyncio.get_running_loop)
        except RuntimeError as error:
            no_loop = str(error)
        return right, wrong, no_loop

    return await_(several())


def cancelled(count):
    """A wait that is cancelled leaves the function to its end, as with any pool."""
    done = []

    async def late():
        task = asyncio.ensure_future(asyncio.to_thread(lambda: (time.sleep(0.05), done.append(True))))
        await asyncio.sleep(0.01)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            before = list(done)
        while not done:
            await asyncio.sleep(0.01)
        return before, done

    return await_(late())


def sensitive(count):
    """In one context one thread after another, the same; each context its own, at once."""
    def mark(n):
        before = getattr(local, 'mark', None)
        local.mark = n
        time.sleep(0.01)
        return before

    async def one(n):
        async with ThreadSensitiveContext():
            return [await sync_to_async(mark)(n) for _ in range(3)], await sync_to_async(on_workers_thread)()

    async def all_of_them():
        return await asyncio.gather(*(one(n) for n in range(50)))

    answers = await_(all_of_them())
    return answers == [([None, n, n], True) for n in range(50)]


def single(count):
    """Without a context one thread for all, and it stays."""
    def mark():
        local.calls = getattr(local, 'calls', 0) + 1
        return local.calls

    async def twice():
        return [await sync_to_async(mark)(), await sync_to_async(mark)()]

    first = asyncio.run_coroutine_threadsafe(twice(), asyncio.get_event_loop()).result()
    return first[1] - first[0]


def own_pool(count):
    """An executor of the application's own is what it made."""
    async def there():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return await asyncio.get_running_loop().run_in_executor(pool, on_workers_thread)

    return await_(there())


def real(count):
    return uwsgi_tornado.to_thread(on_workers_thread)


def from_a_thread(count):
    """The loop's pool, asked on a real thread, which it is not for."""
    async def there():
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, nap)
        return loop._default_executor

    executor = await_(there())
    return uwsgi_tornado.to_thread(lambda: executor.submit(on_workers_thread).result())


def dropped(count):
    """As many threads are left as a pool keeps."""
    executor(count)
    deadline = time.monotonic() + 10
    while len(uwsgi_tornado.fibers()) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(uwsgi_tornado.fibers())


def waits_on(count):
    """Answers as soon as the function has begun, which goes on."""
    begun = threading.Event()

    def function():
        begun.set()
        time.sleep(0.5)
        print('went on to its end', flush=True)
    asyncio.run_coroutine_threadsafe(asyncio.to_thread(function), asyncio.get_event_loop())
    begun.wait()
    return 'begun'


worker_thread = None


def on_request(function):
    def answer(count):
        global worker_thread
        worker_thread = threading.get_native_id()
        return function(count)
    return answer


application = serve({f'/{function.__name__}': on_request(function) for function in (
    executor, to_thread, asgiref, anyio_threads, anyio_limited, anyio_back, results, cancelled, sensitive, single,
    own_pool, real, from_a_thread, dropped, waits_on)})
