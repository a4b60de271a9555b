"""What a server may cost a fetch: bytes, headers, time. Each limit ends it with a sentence."""
import asyncio
import gzip
import re
import socket

import pytest
from http_upstream import answer, answering, failure, no_transfer_is_left, run, silent, upstream
from uwsgi_tornado import HTTPTimeoutError, fetch_async

CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
SHORT_S = 0.2


@pytest.mark.parametrize('response', [
    answer(b'x' * 1001),
    CHUNKED + b'3e9\r\n' + b'x' * 1001 + b'\r\n0\r\n\r\n',
    b'HTTP/1.1 200 OK\r\n\r\n' + b'x' * 1001,
], ids=['length', 'chunks', 'until the end'])
def test_a_body_longer_than_the_limit_is_refused(run, response):
    async def test():
        async with answering(response) as server:
            error = await failure(fetch_async(server.url, max_body_size=1000))
            assert error.code == 599 and error.curl_code in (23, 63)
            assert 'longer' in str(error) or 'exceeded' in str(error).lower()
            assert len((await fetch_async(server.url, max_body_size=1001)).body) == 1001
    run(test())


def test_a_body_that_grows_as_it_is_decompressed_is_refused(run):
    bomb = gzip.compress(bytes(50 << 20))
    assert len(bomb) < 100_000

    async def test():
        async with answering(answer(bomb, '200 OK', 'Content-Encoding: gzip')) as server:
            error = await failure(fetch_async(server.url, max_body_size=1 << 20))
            # Our words, and those of a libcurl that counts what it has decompressed (8.22 does).
            assert re.search("the response's body is longer than 1048576 bytes|Would have exceeded max file size", str(error))
    run(test())


def test_a_limit_holds_for_streams_too_where_it_is_asked_for(run):
    async def test():
        async with answering(answer(b'x' * 100_000)) as server:
            with pytest.raises(Exception, match='longer|[Ee]xceeded'):
                response = await fetch_async(server.url, max_body_size=1000, stream=True)
                async for chunk in response:
                    assert len(chunk) <= 1000
    run(test())


@pytest.mark.parametrize('lines', [['X: ' + 'x' * 2000], [f'X{n}: y' for n in range(300)]], ids=['long', 'many'])
def test_headers_longer_than_the_limit_are_refused(run, lines):
    async def test():
        async with answering(answer(b'body', '200 OK', *lines)) as server:
            error = await failure(fetch_async(server.url, max_header_size=1000))
            assert "the response's headers are longer than 1000 bytes" in str(error)
            assert (await fetch_async(server.url)).body == b'body'
    run(test())


def test_headers_without_end_are_refused(run):
    async def handler(served, reader, writer):
        await served.take(reader)
        writer.write(b'HTTP/1.1 200 OK\r\n')
        while True:
            writer.write(b'X-More: and more\r\n')
            await writer.drain()

    async def test():
        async with upstream(handler) as server:
            assert 'headers are longer than 65536 bytes' in str(await failure(fetch_async(server.url)))
            await server.until(lambda: server.open == 0)
    run(test())


@pytest.mark.parametrize('start', [b'', b'HTTP/1.1 200', b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf'],
                         ids=['nothing', 'half a line', 'half a body'])
def test_a_stalled_server_ends_with_the_request_timeout(run, start):
    async def handler(served, reader, writer):
        await served.take(reader)
        writer.write(start)
        await reader.read()  # The client leaves.

    async def test():
        async with upstream(handler) as server:
            error = await failure(fetch_async(server.url, request_timeout=SHORT_S))
            assert isinstance(error, HTTPTimeoutError) and isinstance(error, TimeoutError) and error.code == 599
            await server.until(lambda: server.open == 0)
    run(test())


def test_a_server_that_drips_ends_with_the_request_timeout(run):
    async def handler(served, reader, writer):
        await served.take(reader)
        writer.write(b'HTTP/1.1 200 OK\r\n\r\n')
        while True:
            writer.write(b'x')
            await writer.drain()
            await asyncio.sleep(0.01)

    async def test():
        async with upstream(handler) as server:
            assert isinstance(await failure(fetch_async(server.url, request_timeout=SHORT_S)), HTTPTimeoutError)
            await server.until(lambda: server.open == 0)
    run(test())


def test_a_full_backlog_ends_with_the_connect_timeout(run):
    async def test():
        with socket.socket() as full:
            full.bind(('127.0.0.1', 0))
            full.listen(0)
            queued = []
            try:
                for _ in range(8):  # Until the kernel drops what comes.
                    queued.append(socket.socket())
                    queued[-1].setblocking(False)
                    queued[-1].connect_ex(full.getsockname())
                url = 'http://127.0.0.1:%d' % full.getsockname()[1]
                error = await failure(fetch_async(url, connect_timeout=SHORT_S, request_timeout=25))
                assert isinstance(error, HTTPTimeoutError)
            finally:
                for each in queued:
                    each.close()
    run(test())


def test_a_stall_ends_with_the_stall_timeout(run):
    async def test():
        async with silent() as server:
            error = await failure(fetch_async(server.url, stall_timeout=1, request_timeout=0))
            assert isinstance(error, HTTPTimeoutError)
            await server.until(lambda: server.open == 0)
    run(test())


def test_zero_is_no_limit(run):
    async def test():
        async with answering(answer(b'x' * 5000, '200 OK', 'X: ' + 'x' * 70000)) as server:
            response = await fetch_async(server.url, connect_timeout=0, request_timeout=0, stall_timeout=0,
                                         max_body_size=0, max_header_size=0)
            assert len(response.body) == 5000 and len(response.headers['x']) == 70000
    run(test())


@pytest.mark.parametrize('name, value', [('connect_timeout', -1), ('request_timeout', float('nan')),
                                         ('stall_timeout', 'soon'), ('max_body_size', -1), ('max_redirects', 1.5)])
def test_what_is_no_limit_is_refused(run, name, value):
    async def test():
        with pytest.raises((ValueError, TypeError)):
            fetch_async('http://127.0.0.1', **{name: value})
    run(test())
