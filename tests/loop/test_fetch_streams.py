"""Responses that are read as they come; who sends waits for who reads."""
import asyncio
import gc

import pytest
from http_upstream import ON_THE_WAY, answer, answering, failure, no_transfer_is_left, run, upstream
from uwsgi_tornado import fetch_async

BIG = 64 << 20


class Endless:
    """Streams BIG bytes and counts what it got rid of."""

    def __init__(self, headers=b''):
        self.head = b'HTTP/1.1 200 OK\r\n' + headers + b'Content-Length: %d\r\n\r\n' % BIG
        self.sent = 0
        self.at_rest = asyncio.Event()  # Its last write has not gone through for a while.

    async def __call__(self, served, reader, writer):
        await served.take(reader)
        writer.write(self.head)
        chunk = bytes(range(256)) * 256
        while self.sent < BIG:
            writer.write(chunk)
            await self.drained(writer)
            self.sent += len(chunk)

    async def drained(self, writer):
        draining = asyncio.ensure_future(writer.drain())
        draining.add_done_callback(lambda drained: drained.cancelled() or drained.exception())
        while not (await asyncio.wait([draining], timeout=0.1))[0]:
            self.at_rest.set()
        await draining


def test_a_sender_waits_for_a_reader_who_takes_his_time(run):
    sender = Endless()

    async def test():
        async with upstream(sender) as server:
            response = await fetch_async(server.url, stream=True)
            assert response.effective_url == server.url + '/' and response.timings['starttransfer'] > 0
            assert response.body is None and response.headers['Content-Length'] == str(BIG)
            await sender.at_rest.wait()
            assert sender.sent < ON_THE_WAY
            first = await response.__anext__()
            assert first[:256] == bytes(range(256)) and len(first) < 1 << 20
            size = len(first)
            async for chunk in response:
                assert len(chunk) < 1 << 20
                size += len(chunk)
            assert size == BIG
    run(test())


def test_others_go_on_while_a_stream_is_held_back(run):
    sender = Endless()

    async def handler(served, reader, writer):
        await (sender if served.accepted == 1 else pages)(served, reader, writer)

    async def pages(served, reader, writer):
        while True:
            await served.take(reader)
            writer.write(answer(b'page'))

    async def test():
        async with upstream(handler) as server:
            response = await fetch_async(server.url, stream=True)
            for _ in range(20):
                assert (await fetch_async(server.url)).body == b'page'
            await sender.at_rest.wait()
            response.close()
    run(test())


def test_a_held_back_stream_does_not_stall(run):
    sender = Endless()

    async def test():
        async with upstream(sender) as server:
            response = await fetch_async(server.url, stream=True, stall_timeout=1)
            await asyncio.sleep(2.5)  # Nobody asks for more: nobody is slow.
            assert sum([len(chunk) async for chunk in response]) == BIG
    run(test())


def test_chunks_come_as_they_were_sent(run):
    go = asyncio.Event()

    async def handler(served, reader, writer):
        await served.take(reader)
        writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        for number in range(5):
            writer.write(b'1\r\n%d\r\n' % number)
            await go.wait()
            go.clear()
        writer.write(b'0\r\n\r\n')

    async def test():
        async with upstream(handler) as server:
            async with await fetch_async(server.url, stream=True) as response:
                received = []
                async for chunk in response:
                    received.append(chunk)
                    go.set()
                assert received == [b'0', b'1', b'2', b'3', b'4']
    run(test())


@pytest.mark.parametrize('method, response', [('GET', answer(b'')), ('HEAD', b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'),
                                              ('GET', b'HTTP/1.1 204 None\r\n\r\n'), ('GET', b'HTTP/1.1 304 Same\r\n\r\n')])
def test_a_stream_may_be_empty(run, method, response):
    async def test():
        async with answering(response) as server:
            streamed = await fetch_async(server.url, method=method, stream=True)
            assert [chunk async for chunk in streamed] == [] == [chunk async for chunk in streamed]
    run(test())


def test_a_streamed_error_can_be_read(run):
    async def test():
        async with answering(answer(b'the reason', '503 Busy')) as server:
            error = await failure(fetch_async(server.url, stream=True))
            assert error.code == error.response.status == 503
            assert b''.join([chunk async for chunk in error.response]) == b'the reason'
            response = await fetch_async(server.url, stream=True, raise_error=False)
            assert response.status == 503 and b''.join([chunk async for chunk in response]) == b'the reason'
    run(test())


def test_a_whole_response_is_no_stream(run):
    async def test():
        async with answering(answer(b'page')) as server:
            response = await fetch_async(server.url)
            with pytest.raises(TypeError, match='use stream=True'):
                async for _ in response:
                    pass
    run(test())


def test_who_waits_for_a_chunk_in_a_cycle_of_garbage_is_told_by_whole_objects(run):
    """The collector clears what it collects; nothing of that may be called after."""
    told, errors = [], []

    async def head_only(served, reader, writer):
        await served.take(reader)
        writer.write(b'HTTP/1.1 200 OK\r\n\r\n')
        await reader.read()

    async def test():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))
        async with upstream(head_only) as server:
            response = await fetch_async(server.url, stream=True)
            chunk = response.__anext__()
            chunk.add_done_callback(lambda future, response=response: told.append(type(future.exception())))
            del response, chunk
            await asyncio.sleep(0)  # The present callback of the loop still has it.
            gc.collect()
            await server.until(lambda: server.open == 0)
            await asyncio.sleep(0)
    run(test())
    assert (told, errors) == ([StopAsyncIteration], [])
