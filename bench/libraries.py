"""Libraries for asyncio on an event loop, for loop.py: ten at once, on the loopback. Imported only as they are measured."""
import asyncio
import contextlib
import shutil
import subprocess
import time
import types

import echoes
import measure
import servers

AT_ONCE = 10


async def ten_times(count, once):
    async def some():
        for _ in range(count // AT_ONCE):
            await once()
    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


@contextlib.asynccontextmanager
async def while_runs(server):
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)


def redis_server():
    if not shutil.which('redis-server'):
        raise servers.Missing('redis-server is not installed')
    port = servers.free_port()
    return servers.Server('redis', ['redis-server', '--port', str(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], port)


# --- Each gives the seconds that `count` of them took --------------------------------------------

async def aiohttp_server(loop, count):
    """GET on ten connections that are kept, the client in C++."""
    from aiohttp import web

    async def hello(request):
        return web.Response(text='hello')
    application = web.Application()
    application.router.add_get('/', hello)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, '127.0.0.1', 0)
    await site.start()
    server = types.SimpleNamespace(port=site._server.sockets[0].getsockname()[1])
    began = time.perf_counter()
    await asyncio.to_thread(subprocess.run, measure.load_command(server, '/', AT_ONCE, requests=count, keep_alive=True), check=True,
                            stdout=subprocess.DEVNULL)
    took = time.perf_counter() - began
    await runner.cleanup()
    return took


async def aiohttp_client(loop, count):
    import aiohttp
    async with aiohttp.ClientSession() as session, while_runs(servers.Upstream(0)) as upstream:
        async def once():
            async with session.get(f'http://127.0.0.1:{upstream.port}/') as response:
                await response.read()
        return await timed(ten_times(count, once))


async def httpx_client(loop, count):
    import httpx
    async with httpx.AsyncClient(trust_env=False) as client, while_runs(servers.Upstream(0)) as upstream:
        return await timed(ten_times(count, lambda: client.get(f'http://127.0.0.1:{upstream.port}/')))


async def websocket(loop, count):
    """Both ends in this process."""
    import websockets

    async def serve(connection, *path):
        async for message in connection:
            await connection.send(message)
    message = 'x' * echoes.SIZE
    async with websockets.serve(serve, '127.0.0.1', 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        connections = [await websockets.connect(f'ws://127.0.0.1:{port}', compression=None) for _ in range(AT_ONCE)]

        async def some(connection):
            for _ in range(count // AT_ONCE):
                await connection.send(message)
                await connection.recv()
        took = await timed(asyncio.gather(*map(some, connections)))
        for connection in connections:
            await connection.close()
        return took


async def redis_client(loop, count):
    import redis.asyncio
    async with while_runs(redis_server()) as server:
        client = redis.asyncio.Redis(port=server.port)
        took = await timed(ten_times(count, lambda: client.get('nothing')))
        await client.close()
        return took


async def asyncpg_client(loop, count):
    import asyncpg
    async with while_runs(servers.Postgres()) as server:
        async with asyncpg.create_pool(host='127.0.0.1', port=server.port, user='bench', database='postgres', max_size=AT_ONCE) as pool:
            return await timed(ten_times(count, lambda: pool.fetchval('select $1::int', 1)))


# --- Measuring -----------------------------------------------------------------------------------

async def timed(awaitable):
    began = time.perf_counter()
    await awaitable
    return time.perf_counter() - began


def of_library(run):
    """A measurement: operations a second; `cpu_us` of it is what this process spent on one."""
    def measured(loop, count):
        asyncio.set_event_loop(loop)
        cpu = time.process_time()
        figure = count / loop.run_until_complete(run(loop, count))
        measured.cpu_us = (time.process_time() - cpu) / count * 1e6
        return figure
    measured.__doc__ = run.__doc__
    return measured


ROWS = {'aiohttp server': aiohttp_server, 'aiohttp client': aiohttp_client, 'httpx client': httpx_client, 'websockets echo': websocket,
        'redis.asyncio get': redis_client, 'asyncpg select': asyncpg_client}
