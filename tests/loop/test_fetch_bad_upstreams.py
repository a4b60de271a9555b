"""Servers that break off, lie or talk nonsense: an HTTPError with a sentence, and the next fetch is as ever."""
import asyncio
import re
import socket
import struct

import pytest
from http_upstream import answer, answering, failure, no_transfer_is_left, run, upstream
from uwsgi_tornado import HTTPError, fetch_async


def reset(writer):
    """Ends the connection as a crash does."""
    writer.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize('start', [b'', b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n', b'HTTP/1.1 200 OK\r\nContent-T',
                                   b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf',
                                   b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf'],
                         ids=['before the head', 'in the head', 'in a line of it', 'in a body', 'in a chunk'])
@pytest.mark.parametrize('end', [reset, lambda writer: writer.close()], ids=['reset', 'closed'])
def test_a_connection_that_breaks_off_is_an_error(run, start, end):
    async def handler(served, reader, writer):
        await served.take(reader)
        writer.write(start)
        await writer.drain()
        end(writer)

    async def test():
        async with upstream(handler) as server:
            for stream in False, True:
                with pytest.raises(HTTPError) as raised:
                    response = await fetch_async(server.url, stream=stream)
                    async for _ in response:
                        pass
                assert raised.value.code == 599 and raised.value.curl_code in (18, 52, 56)
    run(test())


def test_the_part_of_a_body_that_came_is_in_the_error(run):
    async def test():
        async with answering(b'HTTP/1.1 200 OK\r\nX-Name: y\r\nContent-Length: 10\r\n\r\nhalf') as server:
            error = await failure(fetch_async(server.url))
            assert error.response.body == b'half' and error.response.headers['x-name'] == 'y'
    run(test())


def test_more_than_the_content_length_is_not_taken_for_the_next_response(run):
    async def test():
        async with answering(answer(b'all') + b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled', answer(b'two')) as server:
            assert (await fetch_async(server.url)).body == b'all'
            assert (await fetch_async(server.url)).body in (b'all', b'two')
    run(test())


# Our words, and those of a libcurl that looks itself (8.22 does).
TWO_LENGTHS = 'the response has two lengths|Invalid Content-Length: value'


@pytest.mark.parametrize('lines', ['Content-Length: 3\r\nContent-Length: 30\r\n', 'Content-Length: 30\r\nContent-Length: 3\r\n'])
def test_two_lengths_that_differ_are_refused(run, lines):
    async def test():
        async with answering(f'HTTP/1.1 200 OK\r\n{lines}\r\nall'.encode()) as server:
            assert re.search(TWO_LENGTHS, str(await failure(fetch_async(server.url))))
    run(test())


def test_a_status_line_in_a_head_does_not_hide_the_length_before_it(run):
    async def test():
        head = b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nHTTP/1.1: 200 OK\r\nContent-Length: 30\r\n\r\n'
        async with answering(head + b'all') as server:
            assert re.search(TWO_LENGTHS, str(await failure(fetch_async(server.url))))
    run(test())


def test_a_status_line_in_trailers_is_no_status(run):
    async def test():
        body = b'3\r\nall\r\n0\r\nHTTP/1.1 500: Broken\r\n\r\n'
        async with answering(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n' + body) as server:
            response = await fetch_async(server.url)
            assert (response.status, response.body, response.headers['x']) == (200, b'all', 'y')
    run(test())


def test_a_header_whose_name_is_none_does_not_hide_the_others(run):
    async def test():
        async with answering(answer(b'all', '200 OK', 'No name: x', 'X: y')) as server:
            headers = (await fetch_async(server.url)).headers
            assert (headers['x'], headers['no name']) == ('y', 'x')
    run(test())


def test_the_same_length_twice_is_that_length(run):
    async def test():
        async with answering(answer(b'all', '200 OK', 'Content-Length: 3')) as server:
            assert (await fetch_async(server.url)).body == b'all'
    run(test())


@pytest.mark.parametrize('garbage', [b'220 smtp.example.org ESMTP\r\n', b'\0\1\2\3' * 100, b'HTTP/9.9 what\r\n\r\n',
                                     b'HTTP/1.1 200 OK\r\nno colon at all\r\n\r\nbody', b'HTTP/1.1 OK\r\n\r\n'])
def test_what_is_not_http_is_an_error(run, garbage):
    async def test():
        async with answering(garbage) as server:
            try:
                response = await fetch_async(server.url)
            except HTTPError as error:
                assert error.code == 599
            else:  # libcurl forgives a line without a colon.
                assert b'no colon' in garbage and response.status == 200
    run(test())


def test_a_broken_compression_is_an_error(run):
    async def test():
        async with answering(answer(b'this is no gzip', '200 OK', 'Content-Encoding: gzip')) as server:
            assert (await failure(fetch_async(server.url))).curl_code == 61
    run(test())


def test_redirects_that_go_round_end(run):
    async def handler(served, reader, writer):
        while True:
            await served.take(reader)
            writer.write(answer(b'', '302 Found', 'Location: /again'))

    async def test():
        async with upstream(handler) as server:
            assert (await failure(fetch_async(server.url, max_redirects=7))).curl_code == 47
            assert len(server.requests) == 8
            server.requests.clear()
            assert (await failure(fetch_async(server.url))).curl_code == 47
            assert len(server.requests) == 6
            response = await fetch_async(server.url, follow_redirects=False)
            assert response.status == 302 and response.headers['Location'] == '/again'
    run(test())


def test_a_name_that_does_not_exist_is_an_error(run):
    async def test():
        assert (await failure(fetch_async('http://nowhere.invalid/', proxy=''))).curl_code == 6
    run(test())


def test_nobody_listening_is_an_error(run):
    async def test():
        with socket.socket() as unused:
            unused.bind(('127.0.0.1', 0))
            error = await failure(fetch_async('http://127.0.0.1:%d' % unused.getsockname()[1]))
            assert error.curl_code == 7 and 'refused' in str(error) or 'Failed to connect' in str(error)
    run(test())


def test_a_kept_connection_that_was_closed_meanwhile_is_not_used(run):
    async def test():
        async with answering(answer(b'one')) as server:  # One request on each connection.
            for n in range(1, 4):
                assert (await fetch_async(server.url)).body == b'one'
                await server.until(lambda: server.open == 0)
                assert server.accepted == n
    run(test())


def test_a_kept_connection_closed_as_the_request_arrives_is_tried_anew(run):
    async def handler(served, reader, writer):
        await served.take(reader)
        if len(served.requests) == 2:
            return  # Closed without a word: as a server does whose patience ended just now.
        writer.write(answer(b'fine'))
        await handler(served, reader, writer)

    async def test():
        async with upstream(handler) as server:
            assert (await fetch_async(server.url)).body == b'fine'
            assert (await fetch_async(server.url, method='POST', body='again')).body == b'fine'
            assert server.accepted == 2 and [r.body for r in server.requests] == [b'', b'again', b'again']
    run(test())


def test_connections_are_used_again(run):
    async def handler(served, reader, writer):
        while True:
            await served.take(reader)
            writer.write(answer(b'fine'))

    async def test():
        async with upstream(handler) as server:
            for _ in range(20):
                await fetch_async(server.url)
            assert server.accepted == 1
            await asyncio.gather(*(fetch_async(server.url) for _ in range(10)))
            assert server.accepted <= 10 and len(server.requests) == 30
    run(test())


def test_an_interim_response_is_not_the_response(run):
    async def test():
        early = b'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'
        async with answering(early + early + answer(b'fine', '200 OK', 'X: y')) as server:
            response = await fetch_async(server.url)
            assert response.status == 200 and response.headers['X'] == 'y' and 'Link' not in response.headers
            streamed = await fetch_async(server.url, stream=True)
            assert streamed.status == 200 and [chunk async for chunk in streamed] == [b'fine']
    run(test())
