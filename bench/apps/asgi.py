"""The application for uvicorn."""
import asyncio
import os
import types

HEADERS = [(b'content-type', b'text/plain')]


def work(rounds):
    value = 0
    for number in range(rounds):
        value = (value * 31 + number) % 1000003
    return value


process = types.SimpleNamespace()


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


FETCHES = {'/aiohttp': by_aiohttp, '/httpx': by_httpx, '/fan_out': fan_out}


async def application(scope, receive, send):
    if scope['type'] != 'http':
        return
    if scope['path'] == '/timer':
        await asyncio.sleep(0.1)
    if scope['path'] == '/stream':
        await send({'type': 'http.response.start', 'status': 200, 'headers': HEADERS})
        for _ in range(100):
            await send({'type': 'http.response.body', 'body': b'x' * 100, 'more_body': True})
        await send({'type': 'http.response.body', 'body': b''})
        return
    if scope['path'] == '/compute':
        work(int(scope['query_string']))
    body = b'hello'
    if scope['path'] in FETCHES:
        body = await FETCHES[scope['path']](os.environ['BENCH_UPSTREAM'])
    await send({'type': 'http.response.start', 'status': 200,
                'headers': [*HEADERS, (b'content-length', str(len(body)).encode())]})
    await send({'type': 'http.response.body', 'body': body})
