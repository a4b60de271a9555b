"""Requests that wait for asyncio's streams and sockets on the worker's loop, and compute in between."""
import asyncio
import socket

from router import serve
from uwsgi_tornado import await_

TURNS = 10
made = {}


async def echo_lines(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def address():
    """That of a server of this worker's."""
    if 'server' not in made:
        made['server'] = asyncio.ensure_future(asyncio.start_server(echo_lines, '127.0.0.1', 0, backlog=1000))
    server = await asyncio.shield(made['server'])
    return server.sockets[0].getsockname()


async def by_stream(lines):
    reader, writer = await asyncio.open_connection(*await address())
    answers = []
    for line in lines:
        writer.write(line)
        answers.append(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answers


async def by_socket(lines):
    loop, answers = asyncio.get_running_loop(), []
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, await address())
        for line in lines:
            await loop.sock_sendall(client, line)
            answer = b''
            while not answer.endswith(b'\n'):
                answer += await loop.sock_recv(client, 7)
            answers.append(answer)
    return answers


def compute():
    """A few quanta of 1 ms."""
    return sum(number * number % 7 for number in range(40_000))


def ask(number, how):
    right = compute()
    for turn in range(TURNS):
        lines = [f'{turn} {line} of {number}\n'.encode() for line in range(3)]
        assert await_(how(lines)) == lines
        assert compute() == right
    return number


application = serve({'/stream': lambda number: ask(number, by_stream), '/socket': lambda number: ask(number, by_socket)})
