"""Clients of chaos.py: hundreds at once from one thread, some of whom leave in the middle.

Also run by itself, against a server that is there already: chaos_load.py PORT CLIENTS SECONDS.
"""
import asyncio
import collections
import contextlib
import itertools
import socket
import struct
import sys
import threading
import time

from seeds import SEED, seeded

LEAVES = 0.1  # The share of clients that leave before they are answered.
ANSWER_S = 120


class Load:
    """Run in a thread of its own until stop()."""

    numbers = itertools.count(1)

    def __init__(self, ports, clients, seed=SEED):
        self.ports, self.clients, self.seed = ports, clients, seed
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
        self.thread.join(ANSWER_S + 30)
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
                await asyncio.wait_for(self.ask(random, port, number), ANSWER_S)
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            except Exception as error:  # Each is a request that was not answered right.
                self.note_wrong(number, repr(error))
            finally:
                del self.asked_at[number]

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
