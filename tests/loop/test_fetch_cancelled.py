"""Fetches given up half-way: their connections are closed, others go on, and nothing of them stays."""
import asyncio
import gc
import os
import socket
import sys
import threading

import pytest
import uwsgi_tornado
from http_upstream import answer, no_transfer_is_left, run, silent, upstream
from uwsgi_tornado import fetch_async


async def endless(served, reader, writer):
    """Streams until the client leaves."""
    await served.take(reader)
    writer.write(b'HTTP/1.1 200 OK\r\n\r\n')
    while True:
        writer.write(b'x' * 10000)
        await writer.drain()


@pytest.mark.parametrize('handler', [endless, None], ids=['in a body', 'before the head'])
def test_cancelling_closes_the_connection(run, handler):
    async def test():
        async with upstream(handler) if handler else silent() as server:
            future = fetch_async(server.url, max_body_size=0)
            await server.until(lambda: server.open == 1)
            future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await future
            await server.until(lambda: server.open == 0)
    run(test())


def test_cancelled_before_it_began_it_never_goes_out(run):
    async def test():
        async with silent() as server:
            future = fetch_async(server.url)
            future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await future
            assert server.accepted == 0
    run(test())


def test_a_timeout_of_the_waiter_closes_the_connection(run):
    async def test():
        async with silent() as server:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(fetch_async(server.url), 0.1)
            await server.until(lambda: server.open == 0)
    run(test())


def test_of_many_the_cancelled_end_and_the_others_do_not(run):
    go = asyncio.Event()

    async def handler(served, reader, writer):
        request = await served.take(reader)
        await go.wait()
        writer.write(answer(request.target.encode()))

    async def test():
        async with upstream(handler) as server:
            futures = [fetch_async(f'{server.url}/{n}') for n in range(60)]
            await server.until(lambda: server.accepted == 60)
            for future in futures[::2]:
                future.cancel()
            go.set()
            results = await asyncio.gather(*futures, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
            assert [result.body for result in results[1::2]] == [b'/%d' % n for n in range(1, 60, 2)]
    run(test())


@pytest.mark.parametrize('leave', ['close', 'with', 'forget', 'break'])
def test_leaving_a_stream_closes_the_connection(run, leave):
    async def test():
        async with upstream(endless) as server:
            response = await fetch_async(server.url, stream=True)
            if leave == 'close':
                response.close()
                assert [chunk async for chunk in response] == []
            elif leave == 'with':
                async with response:
                    assert await response.__anext__()
            elif leave == 'break':
                async for _ in response:
                    break
            del response
            await server.until(lambda: server.open == 0)
    run(test())


def test_close_ends_who_waits_for_a_chunk(run):
    async def handler(served, reader, writer):
        await served.take(reader)
        writer.write(b'HTTP/1.1 200 OK\r\n\r\n')
        await reader.read()

    async def test():
        async with upstream(handler) as server:
            response = await fetch_async(server.url, stream=True)
            waiting = asyncio.ensure_future(response.__anext__())
            await asyncio.sleep(0)
            response.close()
            with pytest.raises(StopAsyncIteration):
                await waiting
            await server.until(lambda: server.open == 0)
    run(test())


def test_a_chunk_whose_waiter_gave_up_is_for_the_next(run):
    go = asyncio.Event()

    async def handler(served, reader, writer):
        await served.take(reader)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n')
        await go.wait()
        writer.write(b'one')
        writer.write(b'two')

    async def test():
        async with upstream(handler) as server:
            response = await fetch_async(server.url, stream=True)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(response.__anext__(), 0.05)
            go.set()
            await server.until(lambda: server.open == 0)
            await asyncio.sleep(0.05)  # It has come, with nobody to take it.
            assert b''.join([chunk async for chunk in response]) == b'onetwo'
    run(test())


def test_two_cannot_wait_for_the_same_chunk(run):
    async def handler(served, reader, writer):
        await served.take(reader)
        writer.write(b'HTTP/1.1 200 OK\r\n\r\n')
        await reader.read()

    async def test():
        async with upstream(handler) as server:
            response = await fetch_async(server.url, stream=True)
            first = response.__anext__()
            with pytest.raises(RuntimeError, match='another caller already waits for the next chunk'):
                response.__anext__()
            response.close()
            with pytest.raises(StopAsyncIteration):
                await first
    run(test())


# --- The loop's end -------------------------------------------------------------------------------

@pytest.fixture
def listener():
    """A server without a loop: connections are made to it and wait."""
    with socket.create_server(('127.0.0.1', 0)) as listening:
        yield listening


def test_a_loop_closed_with_fetches_in_flight_leaves_nothing(listener):
    async def begin():
        futures = [fetch_async('http://127.0.0.1:%d' % listener.getsockname()[1], body=chunks()) for _ in range(5)]
        await asyncio.sleep(0.05)
        return futures

    async def chunks():
        while True:
            yield b'x' * 100_000
    loop = uwsgi_tornado.EventLoop()
    futures = loop.run_until_complete(begin())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    assert not any(future.done() for future in futures)
    loop.close()
    del futures
    gc.collect()
    assert uwsgi_tornado._live()['transfers'] == 0


@pytest.mark.parametrize('body', [b'', b'part', b'as a whole'])
def test_a_stream_outlives_its_loop(listener, body):
    async def begin():
        fetched = fetch_async('http://127.0.0.1:%d' % listener.getsockname()[1], stream=True)
        listener.setblocking(False)
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n' + body)
        response = await fetched
        await asyncio.sleep(0.05)  # Where the body is whole, libcurl is through with it.
        return connection, response
    loop = uwsgi_tornado.EventLoop()
    connection, response = loop.run_until_complete(begin())
    loop.close()
    other = uwsgi_tornado.EventLoop()

    async def read():
        return [chunk async for chunk in response]
    with pytest.raises(RuntimeError, match='another event loop'):
        other.run_until_complete(read())
    other.close()
    response.close()
    connection.close()


def test_a_response_freed_on_another_thread(run):
    async def test():
        async with upstream(endless) as server:
            box = [await fetch_async(server.url, stream=True)]
            while sys.getrefcount(box[0]) > 2:  # The loop's handles have the future, and it the response.
                await asyncio.sleep(0)
            thread = threading.Thread(target=box.clear)
            thread.start()
            await asyncio.to_thread(thread.join)
            assert not box
            await server.until(lambda: server.open == 0)
    run(test())


def test_a_stream_belongs_to_its_loop(run):
    async def test():
        async with upstream(endless) as server:
            response = await fetch_async(server.url, stream=True)
            with pytest.raises(RuntimeError, match='another event loop'):
                await asyncio.to_thread(lambda: asyncio.run(response.__anext__()))
            response.close()
    run(test())


def test_a_child_of_a_fork_leaves_the_parents_transfers_alone(run):
    go = asyncio.Event()

    async def handler(served, reader, writer):
        while True:
            request = await served.take(reader)
            await go.wait()
            writer.write(answer(request.target.encode()))

    async def test():
        async with upstream(handler) as server:
            futures = [fetch_async(f'{server.url}/{n}') for n in range(5)]
            await server.until(lambda: server.accepted == 5)
            pid = os.fork()
            if pid == 0:
                try:
                    for future in futures:
                        future.cancel()
                    gc.collect()
                finally:
                    os._exit(0)
            assert await asyncio.to_thread(os.waitpid, pid, 0) == (pid, 0)
            go.set()
            assert [r.body for r in await asyncio.gather(*futures)] == [b'/%d' % n for n in range(5)]
            assert (await fetch_async(f'{server.url}/again')).body == b'/again'
            assert server.accepted == 5
    run(test())


def test_a_stream_closed_in_a_child_of_a_fork_goes_on_in_the_parent(run, server_tls):
    """Over TLS, which says goodbye when it is closed."""
    go = asyncio.Event()

    async def handler(served, reader, writer):
        await served.take(reader)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none')
        leaves = asyncio.ensure_future(reader.read())
        await go.wait()
        await asyncio.sleep(0.05)  # A goodbye of the child's would be there by now.
        assert not leaves.done()
        writer.write(b'two')
        await leaves

    async def test():
        async with upstream(handler, ssl=server_tls) as server:
            response = await fetch_async(f'https://127.0.0.1:{server.port}', verify=False, stream=True)
            pid = os.fork()
            if pid == 0:
                try:
                    response.close()
                finally:
                    os._exit(0)
            assert await asyncio.to_thread(os.waitpid, pid, 0) == (pid, 0)
            go.set()
            assert b''.join([chunk async for chunk in response]) == b'onetwo'
    run(test())


@pytest.mark.parametrize('loop', [None, asyncio.SelectorEventLoop])
def test_another_loop_than_ours_is_refused(loop):
    async def fetch():
        await fetch_async('http://127.0.0.1/')
    if loop is None:
        with pytest.raises(RuntimeError, match='needs a uWSGI worker that runs with --tornado'):
            fetch_async('http://127.0.0.1/')
    else:
        with pytest.raises(RuntimeError, match="fetching needs the worker's event loop or a uwsgi_tornado.EventLoop"):
            asyncio.run(fetch())
