"""What metrics.py, background.py and ending.py do, as an ASGI application."""
import asyncio
import time

import uwsgi
from uwsgi_tornado import stopping

released = asyncio.Event()


def say(text):
    print(f'app: {text}', flush=True)


async def quick(query, receive, send):
    return 'quick'


async def hold(query, receive, send):
    await released.wait()
    return 'released'


async def release(query, receive, send):
    released.set()
    return 'released'


async def read(query, receive, send):
    while (await receive()).get('more_body'):
        pass
    return 'read'


async def block(query, receive, send):
    """Holds the loop for that many seconds."""
    time.sleep(float(query))
    return 'blocked'


async def sleep(query, receive, send):
    await asyncio.sleep(float(query))
    return 'slept'


async def set_user_harakiri(query, receive, send):
    uwsgi.set_user_harakiri(int(query))
    await asyncio.sleep(60)


async def user_harakiri_in_time(query, receive, send):
    uwsgi.set_user_harakiri(30)
    await asyncio.sleep(float(query))
    uwsgi.set_user_harakiri(0)
    return 'in time'


async def await_it(query, receive, send):
    say('waits')
    first = await asyncio.wait_for(stopping, 60)
    return f'{first} {await stopping} {stopping.is_set()}'


async def stream(send, chunks):
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    async for chunk in chunks:
        await send({'type': 'http.response.body', 'body': chunk, 'more_body': True})
    await send({'type': 'http.response.body'})


async def events(query, receive, send):
    async def chunks():
        yield b'first\n'
        while not stopping.is_set():
            yield b'event\n'
            await asyncio.sleep(0.02)
        yield b'last\n'
    await stream(send, chunks())
    say('the events are closed')


async def endless(query, receive, send):
    """Does not look."""
    async def chunks():
        while True:
            yield b'more\n'
            await asyncio.sleep(0.02)
    try:
        await stream(send, chunks())
    finally:
        say('the endless stream is closed')


async def application(scope, receive, send):
    if scope['type'] != 'http':
        raise RuntimeError('http only')
    text = await globals()[scope['path'].strip('/')](scope['query_string'].decode(), receive, send)
    if text is None:
        return
    body = text.encode()
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'%d' % len(body))]})
    await send({'type': 'http.response.body', 'body': body})
