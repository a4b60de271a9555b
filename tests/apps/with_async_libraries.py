"""Clients made for asyncio, one for each worker, shared by plain requests that await them."""
import asyncio
import os

import aiohttp
import asyncpg
import httpx
import redis.asyncio
import websockets
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from router import serve
from uwsgi_tornado import await_

UPSTREAM = os.environ['UPSTREAM']
POSTGRES_PORT = int(os.environ['POSTGRES_PORT'])
REDIS_PORT = int(os.environ['REDIS_PORT'])
MOST = 100
# Kept however long the test takes.
LIMITS = httpx.Limits(max_connections=MOST, max_keepalive_connections=MOST, keepalive_expiry=None)

httpx_client = httpx.AsyncClient(limits=LIMITS, timeout=30, trust_env=False)
redis_client = redis.asyncio.Redis(port=REDIS_PORT, decode_responses=True)
engine = create_async_engine(f'postgresql+asyncpg://app@127.0.0.1:{POSTGRES_PORT}/postgres', pool_size=MOST)
made = {}


async def once(name, make):
    """What only a running loop can make: by the first request that asks, for all."""
    if name not in made:
        made[name] = asyncio.ensure_future(make())
    return await asyncio.shield(made[name])


async def session():
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=MOST, keepalive_timeout=3600))


async def pool():
    return await asyncpg.create_pool(host='127.0.0.1', port=POSTGRES_PORT, user='app', database='postgres',
                                     min_size=1, max_size=MOST)


async def by_aiohttp(n):
    client = await once('session', session)
    async with client.get(f'{UPSTREAM}/{n}') as response:
        return await response.text()


async def by_name(n):
    """The name is looked up by a thread of the loop's executor."""
    async with aiohttp.ClientSession() as client, client.get(f'{UPSTREAM.replace("127.0.0.1", "localhost")}/{n}') as response:
        return await response.text()


async def by_httpx(n):
    return (await httpx_client.get(f'{UPSTREAM}/{n}')).text


async def by_asyncpg(n):
    connections = await once('pool', pool)
    async with connections.acquire() as connection, connection.transaction():
        await connection.execute('insert into item (request) values ($1)', n)
        return await connection.fetchval('select $1::int from pg_sleep(0.2)', n)


async def by_redis(n):
    async with redis_client.pipeline() as pipeline:
        await pipeline.set(f'shared:{n}', n).incr('shared').execute()
    blocked = await redis_client.blpop(f'never:{n}', timeout=0.2)
    return f'{blocked} {await redis_client.get(f"shared:{n}")}'


async def by_websocket(n):
    async with websockets.connect(os.environ['WEBSOCKET'], compression=None) as connection:
        await connection.send(str(n))
        return await connection.recv()


async def by_sqlalchemy(n):
    async with AsyncSession(engine) as session, session.begin():
        await session.execute(text('insert into item (request) values (:n)'), {'n': n})
        return (await session.execute(text('select :n from pg_sleep(0.2)'), {'n': str(n)})).scalar()


def awaits(function):
    return lambda n: await_(function(n), timeout=60)


application = serve({f'/{function.__name__[3:]}': awaits(function) for function in (
    by_aiohttp, by_name, by_httpx, by_asyncpg, by_redis, by_websocket, by_sqlalchemy)})
