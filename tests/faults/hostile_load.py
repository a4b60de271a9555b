"""Hostile clients, many at once and of each protocol, beside a steady one whose answers must be right."""
import collections
import itertools
import json
import socket
import struct
import threading
import time

from hostile_bytes import MESSAGES, hostile_message
from seeds import seeded

WAIT_S = 0.2  # For an answer, before a hostile client leaves; a part of them stay.
STAY_S = 30


def at_once(random, data):
    yield data


def byte_by_byte(random, data):
    """The beginning, where the parsers are; the rest is one piece."""
    yield from (data[at:at + 1] for at in range(min(len(data), 300)))
    yield data[300:]


def in_pieces(random, data):
    while data:
        size = random.choice([1, 2, 7, 100, 5000])
        yield data[:size]
        data = data[size:]


def in_two(random, data):
    at = random.randrange(len(data) + 1)
    yield data[:at]
    time.sleep(0.01)  # So that the first part is read alone.
    yield data[at:]


def leave_with_reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))


def half_close(connection):
    connection.shutdown(socket.SHUT_WR)
    read(connection, WAIT_S)


def wait_shortly(connection):
    read(connection, WAIT_S)


def stay(connection):
    """Until the server closes it."""
    read(connection, STAY_S)


def leave(connection):
    pass


ENDS = [leave, leave_with_reset, half_close, half_close, wait_shortly, wait_shortly, wait_shortly] * 3 + [stay]


def read(connection, timeout_s):
    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        connection.settimeout(left_s)
        if not connection.recv(65536):
            return True
    raise TimeoutError


def sockets(ports, sanitized=False):
    """Options for a socket of each protocol; websockets are on that of HTTP/1.1."""
    ports['websocket'] = ports['http11-socket']
    # AddressSanitizer ends who asks for 8 EiB, which is a body's size; uWSGI minds that malloc() refuses them.
    limit = ['--limit-post', '1000000'] if sanitized else []
    return limit + [word for protocol, port in ports.items() if protocol != 'websocket' for word in (f'--{protocol}', f'127.0.0.1:{port}')]


def others(running):
    """The requests that the app sees beside the one that asks it."""
    return json.loads(running.get('/others')[2])


class HostileLoad:
    """`ports`: of each protocol's socket. From start() to stop(); then `tried` counts by protocol, and `wrong` has what
    was wrong with the steady client's answers, and connections that the server never ended."""

    def __init__(self, running, ports, clients):
        self.running, self.ports = running, ports
        self.tried, self.steady, self.wrong = collections.Counter(), 0, []
        self.numbers, self.ending = itertools.count(), threading.Event()
        self.threads = [threading.Thread(target=self.attack_on) for _ in range(clients)] + [threading.Thread(target=self.ask_on)]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def attack_on(self):
        while not self.ending.is_set():
            number = next(self.numbers)
            try:
                self.attack(number)
            except Exception as error:  # Of this test's own.
                self.wrong.append((number, repr(error)))

    def attack(self, number):
        random = seeded('hostile', number)
        protocol = random.choice(list(MESSAGES))
        what, data = hostile_message(random, protocol)
        pieces, end = random.choice([at_once, at_once, byte_by_byte, in_pieces, in_two]), random.choice(ENDS)
        if protocol == 'websocket' and end is stay:
            end = half_close  # An idle websocket may stay for ever.
        self.tried[protocol] += 1
        with socket.create_connection(('127.0.0.1', self.ports[protocol]), timeout=STAY_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for piece in pieces(random, data):
                    connection.sendall(piece)
                end(connection)
            except TimeoutError:
                if end is stay:
                    self.wrong.append((number, protocol, what, pieces.__name__, 'was never ended'))
            except OSError:
                pass  # The server has ended it, as it may.

    def ask_on(self):
        random = seeded('steady')
        while not self.ending.is_set():
            body = random.randbytes(random.choice([1, 10, 5000]))
            try:
                status, _, answer = self.running.get('/echo', 'POST', body)
            except OSError as error:
                self.wrong.append(('steady', repr(error)))
                continue
            self.steady += 1
            if (status, answer) != (200, body):
                self.wrong.append(('steady', status, answer[:100]))
