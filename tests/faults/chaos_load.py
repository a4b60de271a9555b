"""Clients of chaos.py: hundreds at once from one thread, some of whom leave in the middle.

Also run by itself, against a server that is there already: chaos_load.py PORT CLIENTS SECONDS.
"""
import asyncio
import collections
import contextlib
import itertools
import pathlib
import socket
import struct
import sys
import threading
import time

from seeds import SEED, seeded

LEAVES = 0.1  # The share of clients that leave before they are answered.
ANSWER_S = 120  # Without the time in which the worker wanted a CPU and others had them all.


class Load:
    """Run in a thread of its own until stop()."""

    numbers = itertools.count(1)

    def __init__(self, ports, clients, seed=SEED, worker_pid=None):
        self.ports, self.clients, self.seed, self.worker_pid = ports, clients, seed, worker_pid
        self.outcomes, self.wrong = collections.Counter(), []
        self.rows = {}  # Of each request that said how many it has committed.
        self.stopping = False
        self.slowest_s = 0
        self.asked_at = {}  # Of each request under way.
        self.thread = threading.Thread(target=lambda: asyncio.run(self.all_clients()), daemon=True)

    def start(self):
        self.thread.start()
        return self

    def stop(self):
        self.stopping = True
        until = self.served_s() + ANSWER_S + 30
        while self.thread.is_alive() and self.served_s() < until:
            self.thread.join(1)
        assert not self.thread.is_alive(), 'a client still waits for its answer'

    async def all_clients(self):
        await asyncio.gather(*(self.client(index) for index in range(self.clients)))

    async def client(self, index):
        random = seeded(self.seed, 'client', index)
        port = self.ports[index % len(self.ports)]
        while not self.stopping:
            number = next(self.numbers)
            began = self.asked_at[number] = time.monotonic()
            try:
                await self.in_time(self.ask(random, port, number))
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            except Exception as error:  # Each is a request that was not answered right.
                self.note_wrong(number, repr(error))
            finally:
                del self.asked_at[number]

    def served_s(self):
        """The time, without that in which the worker's loop waited for a CPU."""
        waited_ns = 0
        if self.worker_pid is not None:
            waited_ns = int(pathlib.Path(f'/proc/{self.worker_pid}/schedstat').read_text().split()[1])
        return time.monotonic() - waited_ns / 1e9

    async def in_time(self, asked):
        task = asyncio.ensure_future(asked)
        until = self.served_s() + ANSWER_S
        while (left_s := until - self.served_s()) > 0:
            await asyncio.wait([task], timeout=left_s)
            if task.done():
                return task.result()
        task.cancel()
        raise asyncio.TimeoutError

    def oldest_s(self):
        """How long the request that has waited longest for its answer has done so."""
        return max((time.monotonic() - began for began in list(self.asked_at.values())), default=0)

    def note_wrong(self, number, what):
        self.wrong.append(f'{number}: {what}')
        if len(self.wrong) <= 20:
            print(f'WRONG {self.wrong[-1]}', flush=True)

    async def ask(self, random, port, number):
        reader, writer = await asyncio.open_connection('127.0.0.1', port)
        try:
            writer.write(f'GET /run?{self.seed}.{number} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n'.encode())
            if random.random() < LEAVES:
                await self.leave(random, writer)
                return
            self.judge(number, await reader.read())
        finally:
            writer.close()

    async def leave(self, random, writer):
        await asyncio.sleep(random.random() ** 2)
        how = random.choice(['end', 'reset'])
        if how == 'reset':
            line = writer.get_extra_info('socket')
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.outcomes['left by ' + how] += 1

    def judge(self, number, answer):
        head, _, body = answer.partition(b'\r\n\r\n')
        status = head.split(b' ')[1] if b' ' in head else b'no answer'
        if status == b'504':
            self.outcomes['504'] += 1
        elif status == b'200' and body.startswith(b'%d ' % number):
            _, how, rows = body.decode().split()
            self.outcomes[how] += 1
            self.rows[number] = how, int(rows)
        else:
            self.note_wrong(number, answer)


if __name__ == '__main__':
    port, clients, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    load = Load([port], clients).start()
    with contextlib.suppress(KeyboardInterrupt):
        time.sleep(seconds)
    load.stop()
    print(f'TORNADO_SEED={SEED}', dict(load.outcomes), f'{len(load.wrong)} wrong, slowest {load.slowest_s:.1f} s')
