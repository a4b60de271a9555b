"""asgiref's bridges in plain requests: which loop and which thread each side runs on."""
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import async_to_sync, sync_to_async

from router import serve

loop = asyncio.get_event_loop()
own = threading.local()


def here():
    return threading.get_ident(), getattr(own, 'number', None)


async def shared(n):
    return asyncio.get_running_loop() is loop


async def wait(n):
    await asyncio.sleep(0.2)
    return n


async def back(n):
    """To the request's thread: straight, from a child task, and from there into the loop again."""
    straight = await sync_to_async(here)()
    child, = await asyncio.gather(sync_to_async(here)())
    nested = await sync_to_async(lambda: async_to_sync(nest)(n))()
    return straight, child, nested


async def nest(n):
    await asyncio.sleep(0.02)
    return await sync_to_async(here)()


def comes_back(n):
    own.number = n
    mine = here()
    return [seen == mine for seen in async_to_sync(back)(n)]


def apart(n):
    """Without thread_sensitive it is another thread."""
    return async_to_sync(sync_to_async(here, thread_sensitive=False))()[0] == threading.get_ident()


async def fails(n):
    await asyncio.sleep(0)
    raise ValueError(f'error {n}')


def error(n):
    try:
        async_to_sync(fails)(n)
    except ValueError as error:
        return error


@async_to_sync
async def decorated(n):
    """Wrapped at import, with no loop in sight."""
    await asyncio.sleep(0.2)
    return await shared(n)


class Wrapper:
    @async_to_sync
    async def method(self, n):
        return self is not None and await shared(n)


forced = async_to_sync(shared, force_new_loop=True)


def in_thread(n):
    """A thread of the application's own has no loop to lend."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(decorated, n).result()


def in_call(function):
    return lambda n: async_to_sync(function)(n)


application = serve({'/shared': in_call(shared), '/wait': in_call(wait), '/comes_back': comes_back,
                     '/apart': apart, '/decorated': decorated, '/method': Wrapper().method,
                     '/forced': forced, '/in_thread': in_thread, '/error': error})
