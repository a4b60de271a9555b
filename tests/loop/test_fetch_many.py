"""Five thousand fetches in flight on one loop."""
import asyncio
import gc
import resource

import pytest
import uwsgi_tornado
from http_upstream import answer, no_transfer_is_left, run, upstream
from uwsgi_tornado import fetch_async

MANY = 5000
DESCRIPTORS = 2 * MANY + 500  # Both ends are here.


@pytest.fixture(autouse=True)
def enough_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        pytest.skip(f'needs {DESCRIPTORS} descriptors, of which at most {hard} may be open')
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def gathering(go):
    async def handler(served, reader, writer):
        request = await served.take(reader)
        served.changed.set()
        await go.wait()
        writer.write(answer(request.target.encode()))
        await writer.drain()
    return upstream(handler, backlog=MANY)


def test_five_thousand_are_in_flight_at_once(run):
    go = asyncio.Event()

    async def test():
        async with gathering(go) as server:
            futures = [fetch_async(f'{server.url}/{n}', connect_timeout=0, request_timeout=0) for n in range(MANY)]
            await server.until(lambda: len(server.requests) == MANY)
            assert server.open == MANY and uwsgi_tornado._live()['transfers'] == MANY
            go.set()
            assert [response.body for response in await asyncio.gather(*futures)] == [b'/%d' % n for n in range(MANY)]
    run(test())


def test_five_thousand_are_given_up_at_once(run):
    async def test():
        async with gathering(asyncio.Event()) as server:
            futures = [fetch_async(server.url, connect_timeout=0, request_timeout=0) for _ in range(MANY)]
            await server.until(lambda: len(server.requests) == MANY)
            for future in futures:
                future.cancel()
            await asyncio.wait(futures)
            gc.collect()
            assert uwsgi_tornado._live()['transfers'] == 0
    run(test())
