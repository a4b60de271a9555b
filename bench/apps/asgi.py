"""The application of every ASGI contender."""
import asyncio
import os
import types

HEADERS = [(b'content-type', b'text/plain')]


def work(rounds):
    value = 0
    for number in range(rounds):
        value = (value * 31 + number) % 1000003
    return value


process = types.SimpleNamespace(waiting=0, released=False)


async def by_aiohttp(url):
    if not hasattr(process, 'session'):
        import aiohttp
        process.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    async with process.session.get(url) as response:
        return await response.read()


async def by_httpx(url):
    if not hasattr(process, 'client'):
        import httpx
        process.client = httpx.AsyncClient(limits=httpx.Limits(max_connections=None), timeout=30)
    return (await process.client.get(url)).content


async def fan_out(url):
    return b''.join(await asyncio.gather(*[by_aiohttp(url) for _ in range(20)]))


async def fetched(fetch):
    return await fetch(os.environ['BENCH_UPSTREAM'])


async def slept(seconds):
    await asyncio.sleep(seconds)
    return b'hello'


async def hold():
    """As wsgi.py's, and what follows."""
    process.waiting += 1
    while not process.released:
        await asyncio.sleep(1)
    process.waiting -= 1
    return b'hello'


async def release():
    process.released = True
    return b'released'


async def count_waiting():
    return str(process.waiting).encode()


BODIES = {'/timer': lambda: slept(0.1), '/second': lambda: slept(1), '/hold': hold, '/release': release, '/waiting': count_waiting,
          '/aiohttp': lambda: fetched(by_aiohttp), '/httpx': lambda: fetched(by_httpx), '/fan_out': lambda: fetched(fan_out)}


async def echo(receive, send):
    body, more = b'', True
    while more:
        message = await receive()
        body += message.get('body', b'')
        more = message.get('more_body', False)
    await send({'type': 'http.response.start', 'status': 200, 'headers': [*HEADERS, (b'content-length', str(len(body)).encode())]})
    await send({'type': 'http.response.body', 'body': body})


async def application(scope, receive, send):
    if scope['type'] != 'http':
        return
    if scope['path'] == '/stream':
        await send({'type': 'http.response.start', 'status': 200, 'headers': HEADERS})
        for _ in range(100):
            await send({'type': 'http.response.body', 'body': b'x' * 100, 'more_body': True})
        await send({'type': 'http.response.body', 'body': b''})
        return
    if scope['path'] == '/echo':
        return await echo(receive, send)
    if scope['path'] == '/compute':
        work(int(scope['query_string']))
    body = b'hello'
    if scope['path'] in BODIES:
        body = await BODIES[scope['path']]()
    await send({'type': 'http.response.start', 'status': 200,
                'headers': [*HEADERS, (b'content-length', str(len(body)).encode())]})
    await send({'type': 'http.response.body', 'body': body})
