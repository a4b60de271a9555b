#!/usr/bin/env python3
"""Measures event loops beside each other: loop.py [--quick] [ROW...]. Prints a table.

asyncio's own loop, uvloop and ours take turns (A B C A B C ...); figures are medians, more is better.
`make bench-loop` builds what it needs. Each measurement is a process of its own.
"""
import argparse
import asyncio
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import time

BUILD = pathlib.Path(__file__).resolve().parents[1] / 'build'
ROUNDS = 7
CONNECTIONS = 10
KIB = b'x' * 1024


def make_asyncio():
    return asyncio.SelectorEventLoop()


def make_uvloop():
    import uvloop
    return uvloop.new_event_loop()


def make_ours():
    import uwsgi_tornado
    return uwsgi_tornado.EventLoop()


LOOPS = {'asyncio': make_asyncio, 'uvloop': make_uvloop, 'ours': make_ours}


def nothing():
    pass


def rate(count, work):
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


# --- What is scheduled -------------------------------------------------------------------------

def call_soon(loop, count):
    """100 callbacks a turn."""
    left = count // 100

    def turn():
        nonlocal left
        for _ in range(100):
            loop.call_soon(nothing)
        left -= 1
        loop.call_soon(turn if left else loop.stop)
    loop.call_soon(turn)
    return rate(count, loop.run_forever)


def call_soon_chain(loop, count):
    """One callback a turn, which schedules the next."""
    left = count

    def step():
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            loop.stop()
    loop.call_soon(step)
    return rate(count, loop.run_forever)


def call_soon_hoard(loop, count):
    """All at once before the run: the garbage collector is what this measures."""
    def work():
        for _ in range(count):
            loop.call_soon(nothing)
        loop.call_soon(loop.stop)
        loop.run_forever()
    return rate(count, work)


def timer_set_and_cancelled(loop, count):
    """call_later(10).cancel(), with 100 other timers set."""
    others = [loop.call_later(1000 + number, nothing) for number in range(100)]

    def work():
        for _ in range(count):
            loop.call_later(10, nothing).cancel()
    figure = rate(count, work)
    for handle in others:
        handle.cancel()
    return figure


def timer_fired(loop, count):
    """100 timers of no delay a turn."""
    left = count // 100

    def turn():
        nonlocal left
        for _ in range(100):
            loop.call_later(0, nothing)
        left -= 1
        loop.call_later(0, turn if left else loop.stop)
    loop.call_later(0, turn)
    return rate(count, loop.run_forever)


# --- Descriptors -------------------------------------------------------------------------------

def ping_pong(loop, count):
    """A byte to and fro over a socketpair, both ends with add_reader."""
    a, b = socket.socketpair()
    left = count

    def on_a():
        nonlocal left
        a.recv(1)
        left -= 1
        if left:
            a.send(b'x')
        else:
            loop.stop()

    def on_b():
        b.send(b.recv(1))
    for end, reader in ((a, on_a), (b, on_b)):
        end.setblocking(False)
        loop.add_reader(end, reader)
    a.send(b'x')
    figure = rate(count, loop.run_forever)
    for end in (a, b):
        loop.remove_reader(end)
        end.close()
    return figure


async def sock_echo(loop, connection):
    connection.setblocking(False)
    with connection:
        while data := await loop.sock_recv(connection, 65536):
            await loop.sock_sendall(connection, data)


async def serve_sock(loop):
    listener = socket.create_server(('127.0.0.1', 0), backlog=100)
    listener.setblocking(False)

    async def accept():
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tasks.append(loop.create_task(sock_echo(loop, connection)))
    tasks = [loop.create_task(accept())]
    return listener, tasks


async def serve_streams(loop):
    async def echo(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
    server = await asyncio.start_server(echo, '127.0.0.1', 0)
    return server.sockets[0], [server]


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def serve_protocol(loop):
    server = await loop.create_server(Echo, '127.0.0.1', 0)
    return server.sockets[0], [server]


CLIENT = r'''
import selectors, socket, sys, time
port, connections, count = map(int, sys.argv[1:])
message, selector = b'x' * 1024, selectors.DefaultSelector()
for _ in range(connections):
    connection = socket.create_connection(('127.0.0.1', port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    selector.register(connection, selectors.EVENT_READ)
    connection.sendall(message)
done, started, got = 0, time.perf_counter(), {}
while done < count:
    for key, _ in selector.select():
        received = got.get(key.fd, 0) + len(key.fileobj.recv(65536))
        if received == len(message):
            received, done = 0, done + 1
            key.fileobj.sendall(message)
        got[key.fd] = received
print(count / (time.perf_counter() - started))
'''


def echo(serve):
    def measure(loop, count):
        async def main():
            listener, serving = await serve(loop)
            client = await asyncio.to_thread(
                subprocess.run, [sys.executable, '-c', CLIENT, str(listener.getsockname()[1]), str(CONNECTIONS), str(count)],
                stdout=subprocess.PIPE, check=True)
            return float(client.stdout)
        cpu = time.process_time()
        figure = loop.run_until_complete(main())
        measure.cpu_us = (time.process_time() - cpu) / count * 1e6
        return figure
    measure.__doc__ = f'1 KiB over TCP, {CONNECTIONS} connections; client in another process.'
    return measure


ROWS = {  # Name: measurement, how many, target as a multiple of uvloop's.
    'call_soon': (call_soon, 200_000, 1.5),
    'call_soon, one a turn': (call_soon_chain, 50_000, None),
    'call_soon, hoarded': (call_soon_hoard, 200_000, None),
    'call_later + cancel': (timer_set_and_cancelled, 200_000, 3),
    'timers fired': (timer_fired, 100_000, 2),
    'add_reader ping-pong': (ping_pong, 30_000, 1),
    'echo, sock_*': (echo(serve_sock), 20_000, None),
    'echo, streams': (echo(serve_streams), 20_000, None),
    'echo, Protocol': (echo(serve_protocol), 20_000, None),
}


def measure_here(row, name, quick):
    """In a process of its own: prints the figure, and the loop's CPU time for one where that matters."""
    measurement, count, _ = ROWS[row]
    loop = LOOPS[name]()
    measurement(loop, count // 10)
    figure = measurement(loop, count // (4 if quick else 1))
    print(json.dumps([figure, getattr(measurement, 'cpu_us', None)]), flush=True)
    # Tasks that still serve end with the process.


def measure(row, name, quick):
    """(operations a second, CPU µs for one or None)."""
    command = [sys.executable, __file__, '--here', row, name] + (['--quick'] if quick else [])
    path = os.pathsep.join(filter(None, [str(BUILD), os.environ.get('PYTHONPATH')]))
    done = subprocess.run(command, capture_output=True, timeout=120, text=True, env={**os.environ, 'PYTHONPATH': path})
    if done.returncode:
        raise RuntimeError(f'{name} does not run: {(done.stderr.strip().splitlines() or ["it said nothing"])[-1]}')
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='fewer rounds, less work')
    parser.add_argument('--here', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('row', nargs='*', help='; '.join(ROWS))
    asked = parser.parse_args()
    if asked.here:
        return measure_here(*asked.row, asked.quick)
    try:
        import uvloop  # noqa: F401
    except ImportError:
        del LOOPS['uvloop']
    print('| thousands a second | ' + ' | '.join(LOOPS) + ' | x uvloop |\n| --- |' + ' ---: |' * (len(LOOPS) + 1))
    for row in asked.row or ROWS:
        figures, cpu = {name: [] for name in LOOPS}, {name: [] for name in LOOPS}
        for _ in range(3 if asked.quick else ROUNDS):
            for name in LOOPS:
                figure, cpu_us = measure(row, name, asked.quick)
                figures[name].append(figure)
                cpu[name].append(cpu_us)
        print(as_line(row, {name: statistics.median(values) / 1000 for name, values in figures.items()}), flush=True)
        if cpu['ours'][0] is not None:
            spent = ' | '.join(f'{statistics.median(values):.1f}' for values in cpu.values())
            print(f'| {row}: CPU µs each | {spent} | |', flush=True)


def as_line(row, medians):
    target = ROWS[row][2]
    ratio = medians['ours'] / medians['uvloop'] if 'uvloop' in medians else None
    verdict = '' if ratio is None else f'{ratio:.2f}'
    if ratio is not None and target is not None:
        verdict += f' (wanted {target}: {"met" if ratio >= target else "MISSED"})'
    return f'| {row} | ' + ' | '.join(f'{value:,.1f}' for value in medians.values()) + f' | {verdict} |'


if __name__ == '__main__':
    main()
