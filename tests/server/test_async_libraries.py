"""Libraries for asyncio on the worker's loop, awaited by plain requests, against real servers.

SOAK_REQUESTS  how many requests the soak makes with each HTTP client (2000)
"""
import asyncio
import concurrent.futures
import os

import pytest
import websockets

from overlap import REQUESTS, ask_at_once, assert_overlap
from services import wait_until
from upstreams import BACKLOG, DELAY_S, Upstream, started

SOAK_REQUESTS = int(os.environ.get('SOAK_REQUESTS', 2000))
SOAK_AT_ONCE = 50


class Echo:
    """A websocket server that answers DELAY_S later."""

    async def start(self):
        server = await websockets.serve(self.serve, '127.0.0.1', 0, backlog=BACKLOG, compression=None)
        self.port = server.sockets[0].getsockname()[1]

    async def serve(self, connection):
        async for message in connection:
            await asyncio.sleep(DELAY_S)
            await connection.send(f'echo {message}')


class QuickUpstream(Upstream):
    async def answer(self, reader, writer):
        head = await reader.readuntil(b'\r\n\r\n')
        path = head.split()[1]
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(path), path))
        await writer.drain()


class UpstreamOfAll(Upstream):
    """Answers nobody before REQUESTS requests are there."""

    async def start(self):
        await super().start()
        self.waiting, self.all_there = 0, asyncio.Event()

    async def answer(self, reader, writer):
        path = (await reader.readuntil(b'\r\n\r\n')).split()[1]
        self.waiting += 1
        all_there = self.all_there
        if self.waiting == REQUESTS:
            self.waiting, self.all_there = 0, asyncio.Event()
            all_there.set()
        await all_there.wait()
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(path), path))
        await writer.drain()


@pytest.fixture
def start(server, loop_thread, postgres, redis_server):
    def start_with(upstream, cores=REQUESTS):
        postgres.query('drop table if exists item')
        postgres.query('create table item (request integer)')
        redis_server.client().delete('shared')
        echo = started(loop_thread, Echo())
        return server('with_async_libraries.py', cores=cores, environ={
            'UPSTREAM': f'http://127.0.0.1:{upstream.port}', 'POSTGRES_PORT': str(postgres.port),
            'REDIS_PORT': str(redis_server.port), 'WEBSOCKET': f'ws://127.0.0.1:{echo.port}'})
    return start_with


def slash(n):
    return f'/{n}'


@pytest.mark.smoke
@pytest.mark.parametrize('client', ['aiohttp', 'httpx'])
def test_requests_share_an_http_client(start, loop_thread, client):
    upstream = started(loop_thread, UpstreamOfAll())
    running = start(upstream)
    for _ in range(2):
        assert ask_at_once(running, f'/{client}')[0] == [slash(n) for n in range(REQUESTS)]
        assert upstream.connections == REQUESTS  # Those of the first round are kept.


def test_an_answer_of_a_thread_wakes_the_loop(start, upstream):
    running = start(upstream)
    assert running.get('/name?1')[2] == b'/1'  # Alone: nothing else wakes the loop.


def items(postgres):
    return [request for request, in postgres.query('select request from item order by 1')]


@pytest.mark.smoke
@pytest.mark.parametrize('client', ['asyncpg', 'sqlalchemy'])
def test_requests_share_a_pool_of_postgresql(start, upstream, postgres, client):
    wait_until(lambda: postgres.sessions() == 0, 'sessions of earlier tests to end')
    running = start(upstream)
    assert_overlap(running, f'/{client}', str)
    assert items(postgres) == [*range(REQUESTS)]
    wait_until(lambda: postgres.sessions() <= REQUESTS, 'connections beyond the pool to close')


def test_requests_share_a_client_of_redis(start, upstream, redis_server):
    running = start(upstream)
    assert_overlap(running, '/redis', lambda n: f'None {n}')
    assert redis_server.client().get('shared') == str(REQUESTS).encode()


def test_websockets_of_requests(start, upstream):
    assert_overlap(start(upstream), '/websocket', lambda n: f'echo {n}')


@pytest.mark.parametrize('client', ['aiohttp', 'httpx'])
@pytest.mark.slow
def test_client_lasts_for_many_requests(start, loop_thread, client):
    upstream = started(loop_thread, QuickUpstream())
    running = start(upstream, cores=SOAK_AT_ONCE)
    running.get(f'/{client}?0')
    with concurrent.futures.ThreadPoolExecutor(SOAK_AT_ONCE) as clients:
        answers = clients.map(lambda n: running.get(f'/{client}?{n}')[2].decode(), range(SOAK_REQUESTS))
        assert list(answers) == [slash(n) for n in range(SOAK_REQUESTS)]
    assert upstream.connections <= SOAK_AT_ONCE
    assert running.log.count('Traceback') == 0
