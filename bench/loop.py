#!/usr/bin/env python3
"""Measures event loops beside each other: loop.py [--quick] [--all] [--floor] [--costs] [ROW...]. Prints a table.

asyncio's own loop, uvloop and ours take turns (A B C A B C ...); figures are medians, more is better. With --floor a program
in C++ that makes the same system calls without any loop (bare.cc) takes its turn, too: no loop can be faster.
`make bench-loop` builds what it needs. Each measurement is a process of its own.
"""
import argparse
import asyncio
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import echoes
import libraries

BUILD = pathlib.Path(__file__).resolve().parents[1] / 'build'
ROUNDS = 7


def make_asyncio():
    return asyncio.SelectorEventLoop()


def make_uvloop():
    import uvloop
    return uvloop.new_event_loop()


def make_ours():
    import uwsgi_tornado
    return uwsgi_tornado.EventLoop()


LOOPS = {'asyncio': make_asyncio, 'uvloop': make_uvloop, 'ours': make_ours}
FLOOR = 'no loop, in C++'


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


ping_pong.without_loop = echoes.ping_pong_without_loop


def pipes(loop, count):
    """1 KiB to and fro over two pipes, with their transports; both ends in this process."""
    class Echo(asyncio.Protocol):
        def data_received(self, data):
            nonlocal left
            left -= 1
            if left:
                self.writer.write(data)
            else:
                loop.stop()

    async def connect():
        numbers = os.pipe(), os.pipe()
        ends = [[os.fdopen(number, mode, buffering=0) for number, mode in zip(pair, ('rb', 'wb'))] for pair in numbers]
        for (reading, _), (_, writing) in zip(ends, reversed(ends)):
            transport, protocol = await loop.connect_read_pipe(Echo, reading)
            protocol.writer, _ = await loop.connect_write_pipe(asyncio.Protocol, writing)
            transports.extend((transport, protocol.writer))
    left, transports = 2 * count, []
    loop.run_until_complete(connect())
    transports[1].write(b'x' * echoes.SIZE)
    figure = rate(count, loop.run_forever)
    for transport in transports:
        transport.close()
    return figure


ROWS = {  # Name: measurement, how many, target as a multiple of uvloop's.
    'call_soon': (call_soon, 200_000, 1.5),
    'call_soon, one a turn': (call_soon_chain, 50_000, None),
    'call_soon, hoarded': (call_soon_hoard, 200_000, None),
    'call_later + cancel': (timer_set_and_cancelled, 200_000, 3),
    'timers fired': (timer_fired, 100_000, 2),
    'add_reader ping-pong': (ping_pong, 30_000, 1.1),
    'pipes ping-pong': (pipes, 10_000, None),
    'echo, sock_*': (echoes.echo(echoes.sock, 10), 20_000, 1.3),
    'echo, sock_recv_into': (echoes.echo(echoes.sock_into, 10), 20_000, 1.3),
    'echo, streams': (echoes.echo(echoes.streams, 10), 20_000, 1.3),
    'echo, Protocol': (echoes.echo(echoes.protocol, 10), 20_000, 1.5),
    'echo, BufferedProtocol': (echoes.echo(echoes.buffered_protocol, 10), 20_000, None),
    'echo, TLS Protocol': (echoes.echo(echoes.tls, 10), 10_000, 1.2),
    'echo, datagrams': (echoes.echo(echoes.datagrams, 10), 20_000, None),
}
LONG_ROWS = {  # Measured when asked for by name, or by --all.
    f'{name} x1000': (echoes.echo(serve, 1000), 20_000, least) for name, serve, least in (
        ('echo, sock_*', echoes.sock, 1.3), ('echo, streams', echoes.streams, 1.3), ('echo, Protocol', echoes.protocol, 1.5),
        ('echo, TLS Protocol', echoes.tls, 1.2))
}
LONG_ROWS |= {name: (libraries.of_library(run), 2_000, None) for name, run in libraries.ROWS.items()}
ALL_ROWS = {**ROWS, **LONG_ROWS}


# --- One measurement, in a process of its own ----------------------------------------------------

def measure_here(row, name, count, warm_up):
    """Prints the figure, and the loop's CPU time for one where that matters."""
    measurement = ALL_ROWS[row][0]
    if name == FLOOR:
        print(json.dumps(measurement.without_loop(count)))
        return
    loop = LOOPS[name]()
    if warm_up:
        measurement(loop, count // 10)
    figure = measurement(loop, count)
    print(json.dumps([figure, getattr(measurement, 'cpu_us', None)]), flush=True)
    # Tasks that still serve end with the process.


def run_here(row, name, count, *more, under=()):
    command = [*under, sys.executable, __file__, '--here', str(count), *more, row, name]
    path = os.pathsep.join(filter(None, [str(BUILD), os.environ.get('PYTHONPATH')]))
    done = subprocess.run(command, capture_output=True, timeout=300, text=True, env={**os.environ, 'PYTHONPATH': path, 'PYTHONHASHSEED': '0'})
    if done.returncode:
        raise RuntimeError(f'{name} does not run: {(done.stderr.strip().splitlines() or ["it said nothing"])[-1]}')
    return done.stdout


def measure(row, name, quick):
    """(operations a second, CPU µs for one or None)."""
    return json.loads(run_here(row, name, ALL_ROWS[row][1] // (4 if quick else 1)))


# --- Rates ---------------------------------------------------------------------------------------

def print_rates(rows, quick, floor):
    names = [*LOOPS, *([FLOOR] if floor else ())]
    print('| thousands a second | ' + ' | '.join(names) + ' | x uvloop |\n| --- |' + ' ---: |' * (len(names) + 1))
    for row in rows:
        measured = [name for name in names if name != FLOOR or hasattr(ALL_ROWS[row][0], 'without_loop')]
        figures, cpu = {name: [] for name in measured}, {name: [] for name in measured}
        for _ in range(3 if quick else ROUNDS):
            for name in measured:
                figure, cpu_us = measure(row, name, quick)
                figures[name].append(figure)
                cpu[name].append(cpu_us)
        print(as_line(row, names, {name: statistics.median(values) / 1000 for name, values in figures.items()}), flush=True)
        if any(cpu.values()) and next(iter(cpu.values()))[0] is not None:
            spent = in_cells(names, {name: statistics.median(values) for name, values in cpu.items()})
            print(f'| {row}: CPU µs each | {spent} | |', flush=True)


def in_cells(names, medians):
    return ' | '.join(f'{medians[name]:,.1f}' if name in medians else '' for name in names)


def as_line(row, names, medians):
    target = ALL_ROWS[row][2]

    def times_uvloop(name):
        return medians[name] / medians['uvloop'] if {name, 'uvloop'} <= set(medians) else None
    ratio, most = times_uvloop('ours'), times_uvloop(FLOOR)
    verdict = '' if ratio is None else f'{ratio:.2f}'
    if ratio is not None and target is not None:
        verdict += f' (wanted {target}: {"met" if ratio >= target else "MISSED"})'
    if most is not None:
        verdict += f'; no loop {most:.2f}'
    return f'| {row} | {in_cells(names, medians)} | {verdict} |'


# --- Costs, which a busy machine does not change much ---------------------------------------------

def instructions(row, name, count):
    """User instructions of a run, under callgrind."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / 'callgrind.out'
        run_here(row, name, count, '--cold', under=('valgrind', '--tool=callgrind', f'--callgrind-out-file={out}'))
        return int(re.search(r'^(?:summary|totals): (\d+)', out.read_text(), re.M)[1])


def system_calls(row, name, count):
    """{name: how many} of the loop's thread."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / 'calls'
        run_here(row, name, count, '--cold', under=('strace', '-c', '-o', str(out)))
        lines = [line.split() for line in out.read_text().splitlines()]
        return {line[-1]: int(line[3]) for line in lines if len(line) >= 5 and line[3].isdigit()}


def print_costs(rows):
    """Of one operation: a short run subtracted from a longer one, so that the start does not count."""
    print('| one operation | loop | user instructions | system calls |\n| --- | --- | ---: | --- |')
    for row in rows:
        for name in LOOPS:
            few, many = ALL_ROWS[row][1] // 20, ALL_ROWS[row][1] // 4
            spent = (instructions(row, name, many) - instructions(row, name, few)) / (many - few)
            calls_few, calls_many = system_calls(row, name, few), system_calls(row, name, many)
            each = {call: (calls_many[call] - calls_few.get(call, 0)) / (many - few) for call in calls_many if call != 'total'}
            shown = ', '.join(f'{call} {share:.2f}' for call, share in sorted(each.items(), key=lambda one: -one[1]) if share >= 0.01)
            print(f'| {row} | {name} | {spent:,.0f} | {shown} |', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='fewer rounds, less work')
    parser.add_argument('--all', action='store_true', help='the rows of 1,000 connections, too')
    parser.add_argument('--costs', action='store_true', help='user instructions and system calls of one operation, not rates; needs valgrind and strace')
    parser.add_argument('--floor', action='store_true', help='what the system calls alone take, where a row can be measured so')
    parser.add_argument('--only', choices=LOOPS, help='one loop')
    parser.add_argument('--here', type=int, help=argparse.SUPPRESS)
    parser.add_argument('--cold', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('row', nargs='*', help='; '.join(ALL_ROWS))
    asked = parser.parse_args()
    if asked.here:
        return measure_here(*asked.row, asked.here, not asked.cold)
    try:
        import uvloop  # noqa: F401
    except ImportError:
        del LOOPS['uvloop']
    for name in set(LOOPS) - {asked.only} if asked.only else ():
        del LOOPS[name]
    rows = asked.row or (ALL_ROWS if asked.all else ROWS)
    if asked.costs:
        print_costs(rows)
    else:
        print_rates(rows, asked.quick, asked.floor)


if __name__ == '__main__':
    main()
