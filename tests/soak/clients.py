"""The soak's clients: each a thread that asks at random, and now and then leaves in the middle."""
import collections
import contextlib
import http.client
import itertools
import random
import socket
import struct
import threading
import time

import requests_asked as asked

CLIENT_TIMEOUT_S = 90
LEAVES = 0.1  # The share of requests whose client leaves before the end.
HEAD = 'Connection: close\r\nUser-Agent: soak\r\nX-Filler: ' + 'x' * 200


class Tally:
    """What the clients have done. Any thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.started = collections.Counter()
        self.answered = collections.Counter()
        self.left = collections.Counter()
        self.wrong = []
        self.slowest = (0, '')

    def count(self, counter, name):
        with self.lock:
            counter[name] += 1

    def note_answer(self, name, seconds):
        with self.lock:
            self.answered[name] += 1
            self.slowest = max(self.slowest, (seconds, name))

    def note_wrong(self, name, error):
        with self.lock:
            self.wrong.append(f'{time.strftime("%X")} {name}: {error!r}')
            if len(self.wrong) <= 20:
                print(f'WRONG {self.wrong[-1]}', flush=True)


def choices(with_names):
    """All that can be asked: [(name, function of a session and a number)], weights."""
    questions = [*asked.POSTGRES, *asked.MARIADB, *asked.CACHES, *asked.HTTP, *asked.PROCESSES, *asked.PYTHON,
                 *(asked.NAMES if with_names else [])]
    transfers = [asked.upload, asked.download, asked.stream]
    return ([*((q.name, asked.plain(q), q.path) for q in questions),
             *((t.__name__, t, lambda n, name=t.__name__: f'/{name}?{n}.10' if name == 'stream' else f'/{name}?640000')
               for t in transfers)],
            [*(q.weight for q in questions), *[asked.WEIGHT_OF_TRANSFERS] * len(transfers)])


class Client:
    """One client. `keeps` says whether it keeps its connection between requests."""

    numbers = itertools.count(1)

    def __init__(self, number, seed, port, keeps, choices, tally, pause_s):
        self.random = random.Random(f'{seed} {number}')
        self.port, self.keeps, self.tally, self.pause_s = port, keeps, tally, pause_s
        self.choices, self.weights = choices
        self.connection = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.stopping.is_set():
            name, ask, path = self.random.choices(self.choices, self.weights)[0]
            n = next(self.numbers)
            if self.random.random() < LEAVES:
                self.leave(name, path(n))
            else:
                self.request(name, ask, n)
            self.stopping.wait(self.random.expovariate(1 / self.pause_s))
        self.close()

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    # --- One that stays ---

    def request(self, name, ask, n):
        self.tally.count(self.tally.started, name)
        began = time.monotonic()
        try:
            ask(self, n)
            self.tally.note_answer(name, time.monotonic() - began)
        except Exception as error:  # Each is a request that was not answered right.
            self.tally.note_wrong(f'{name} {n} after {time.monotonic() - began:.2f} s', error)
            self.close()
        if not self.keeps:
            self.close()

    def ask(self, method, path, body=None, headers=None):
        if self.connection is None:
            self.connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=CLIENT_TIMEOUT_S)
        self.connection.request(method, path, body, headers or {})
        return self.connection.getresponse()

    def pause(self, seconds):
        time.sleep(self.random.uniform(0, 2 * seconds))

    # --- One that leaves ---

    def leave(self, name, path):
        how = self.random.choice(['mid header', 'mid body', 'before the answer', 'mid response'])
        self.tally.count(self.tally.left, how)
        if how != 'mid header':
            self.tally.count(self.tally.started, name)
        with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', self.port), CLIENT_TIMEOUT_S) as line:
            getattr(self, 'leave_' + how.replace(' ', '_'))(line, path)
            if self.random.random() < 0.5:  # By a reset instead of an orderly end.
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))

    def leave_mid_header(self, line, path):
        head = f'GET {path} HTTP/1.1\r\nHost: here\r\n{HEAD}'.encode()
        line.sendall(head[:self.random.randint(0, len(head))])
        self.pause(0.05)

    def leave_mid_body(self, line, path):
        size = self.random.randint(1000, 500_000)
        line.sendall(f'POST /upload HTTP/1.1\r\nHost: here\r\n{HEAD}\r\nContent-Length: {size}\r\n\r\n'.encode())
        line.sendall(bytes(self.random.randint(0, size - 1)))
        self.pause(0.05)

    def leave_before_the_answer(self, line, path):
        line.sendall(f'GET {path} HTTP/1.1\r\nHost: here\r\n{HEAD}\r\n\r\n'.encode())
        self.pause(0.05)

    def leave_mid_response(self, line, path):
        if self.random.random() < 0.7:
            path = self.random.choice(['/download?3200000', '/stream?1.20', '/flask/stream?1'])
        line.sendall(f'GET {path} HTTP/1.1\r\nHost: here\r\n{HEAD}\r\n\r\n'.encode())
        wanted = self.random.randint(1, 20_000)
        while wanted > 0 and (got := line.recv(wanted)):
            wanted -= len(got)
