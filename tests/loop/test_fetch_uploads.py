"""Bodies that are sent: of every kind and size, held back while the server takes its time, broken off, redirected."""
import asyncio
import gc
import io

import pytest
from http_upstream import ON_THE_WAY, answer, failure, no_transfer_is_left, read_chunks, run, upstream
from uwsgi_tornado import HTTPError, fetch_async

BIG = 64 << 20


async def echo(served, reader, writer):
    request = await served.take(reader)
    writer.write(answer(request.body, '200 OK', f'X-Encoding: {request.headers["Transfer-Encoding"]}'))


async def later(chunks):
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


@pytest.mark.parametrize('make', [
    lambda: b'some bytes', lambda: 'some bytes', lambda: bytearray(b'some bytes'), lambda: memoryview(b'some bytes'),
    lambda: io.BytesIO(b'some bytes'), lambda: io.StringIO('some bytes'), lambda: [b'some', ' bytes'],
    lambda: (chunk for chunk in ['some', b'', b' bytes']), lambda: later([b'some', b'', b' ', b'bytes'])],
    ids=['bytes', 'str', 'bytearray', 'memoryview', 'file', 'text file', 'list', 'generator', 'async generator'])
@pytest.mark.parametrize('method', [None, 'PUT', 'PATCH'])
def test_bodies_of_every_kind_are_sent(run, make, method):
    async def test():
        async with upstream(echo) as server:
            response = await fetch_async(server.url, method=method, body=make())
            assert response.body == b'some bytes'
            assert server.requests[0].method == (method or 'POST')
            assert 'Expect' not in server.requests[0].headers
            assert response.headers['X-Encoding'] == ('None' if isinstance(make(), (bytes, str, bytearray, memoryview)) else 'chunked')
    run(test())


@pytest.mark.parametrize('size', [0, 1, 65535, 65536, 65537, 5_000_000])
@pytest.mark.parametrize('whole', [True, False])
def test_bodies_of_every_size_are_sent(run, size, whole):
    async def test():
        async with upstream(echo) as server:
            body = bytes(range(256)) * (size // 256 + 1)
            body = body[:size]
            response = await fetch_async(server.url, body=body if whole else later([body[:size // 3], body[size // 3:]]),
                                         max_body_size=0)
            assert response.body == body
    run(test())


@pytest.mark.parametrize('is_async', [True, False])
def test_a_giver_waits_for_a_server_that_takes_its_time(run, is_async):
    given, at_rest, go = [0], asyncio.Event(), asyncio.Event()

    def chunks():
        while given[0] < BIG:
            given[0] += 1 << 16
            yield b'x' * (1 << 16)

    async def async_chunks():
        for chunk in chunks():
            yield chunk

    async def handler(served, reader, writer):
        await reader.readuntil(b'\r\n\r\n')
        await go.wait()
        size = 0
        async for chunk in read_chunks(reader):
            size += len(chunk)
        writer.write(answer(str(size).encode()))

    async def watch():
        before = -1
        while before != given[0] or not before:
            before = given[0]
            await asyncio.sleep(0.1)

    async def test():
        async with upstream(handler) as server:
            fetched = fetch_async(server.url, body=async_chunks() if is_async else chunks())
            await watch()
            assert given[0] < ON_THE_WAY
            go.set()
            assert (await fetched).body == str(BIG).encode()
    run(test())


@pytest.mark.parametrize('make', [lambda fail: (fail() for _ in range(1)), lambda fail: (n.encode() if n != '2' else fail() for n in '012'),
                                  lambda fail: later_failing(fail)])
def test_an_error_in_a_bodys_iterator_is_the_fetchs(run, make):
    def fail():
        raise LookupError('no more')

    async def handler(served, reader, writer):
        with pytest.raises(asyncio.IncompleteReadError):
            await served.take(reader)  # Never whole: the server must not take it for that.

    async def test():
        async with upstream(handler) as server:
            with pytest.raises(LookupError, match='no more'):
                await fetch_async(server.url, body=make(fail))
            await server.until(lambda: server.open == 0)
    run(test())


async def later_failing(fail):
    yield b'0'
    fail()


@pytest.mark.parametrize('body', [[b'x', 7], [None], 7, object()])
def test_a_body_of_something_else_is_a_type_error(run, body):
    async def test():
        async with upstream(echo) as server:
            with pytest.raises(TypeError):
                await fetch_async(server.url, body=body)
    run(test())


def test_a_server_that_answers_early_is_heard(run):
    """It refuses a body it has not read."""
    async def chunks():
        try:
            while True:
                yield b'x' * 65536
                await asyncio.sleep(0)
        finally:
            ended.set()
    ended = asyncio.Event()

    async def handler(served, reader, writer):
        await reader.readuntil(b'\r\n\r\n')
        writer.write(answer(b'too much', '413 Too Large', 'Connection: close'))
        await reader.read()

    async def test():
        async with upstream(handler) as server:
            assert (await failure(fetch_async(server.url, body=chunks()))).response.body == b'too much'
            gc.collect()
            await ended.wait()
    run(test())


def test_a_response_that_begins_before_the_body_is_whole(run):
    go = asyncio.Event()

    async def chunks():
        yield b'first'
        await go.wait()
        yield b'second'

    async def handler(served, reader, writer):
        await reader.readuntil(b'\r\n\r\n')
        parts = read_chunks(reader)
        assert await parts.__anext__() == b'first'
        writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        await writer.drain()
        go.set()
        async for part in parts:
            writer.write(b'%x\r\n%s\r\n' % (len(part), part))
        writer.write(b'0\r\n\r\n')

    async def test():
        async with upstream(handler) as server:
            response = await fetch_async(server.url, body=chunks(), stream=True, request_timeout=10)
            assert b''.join([chunk async for chunk in response]) == b'second'
    run(test())


def test_a_giver_that_waits_ends_with_its_fetch(run):
    ended = asyncio.Event()

    async def chunks():
        try:
            yield b'x'
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def test():
        async with upstream(echo) as server:
            await failure(fetch_async(server.url, body=chunks(), request_timeout=0.2))
            await ended.wait()
            future = fetch_async(server.url, body=chunks())
            ended.clear()
            await server.until(lambda: server.open == 1)
            future.cancel()
            await ended.wait()
            with pytest.raises(asyncio.CancelledError):
                await future
    run(test())


@pytest.mark.parametrize('status', [301, 302, 303, 307, 308])
def test_bodies_and_redirects(run, status):
    async def handler(served, reader, writer):
        while True:
            request = await served.take(reader)
            if request.target == '/':
                writer.write(answer(b'', f'{status} There', 'Location: /there'))
            else:
                writer.write(answer(f'{request.method} {request.body.decode()}'.encode()))

    async def test():
        async with upstream(handler) as server:
            kept = status in (307, 308)
            assert (await fetch_async(server.url, body='abc')).body == (b'POST abc' if kept else b'GET ')
            assert (await fetch_async(server.url, method='PUT', body='abc')).body.startswith(b'GET ' if status == 303 else b'PUT abc')
            try:
                assert (await fetch_async(server.url, body=[b'abc'])).body == b'GET '
            except HTTPError as error:  # What was iterated over is gone.
                assert kept and error.code == 599 and 'cannot be sent again' in str(error)
    run(test())
