"""What is due and ready comes before new connections, and these come in bursts that end."""
import contextlib
import os
import signal
import socket
import threading

import pytest

from conftest import ask

NEW = 8


@pytest.fixture
def held(server, tmp_path):
    """A server, and what holds its worker from `begin` to `end`."""
    running = server('turn_order.py', protocol='http11-socket')
    fifo = tmp_path / 'fifo'
    os.mkfifo(fifo)

    @contextlib.contextmanager
    def hold():
        holder = threading.Thread(target=running.get, args=(f'/hold?{fifo}',))
        holder.start()
        with open(fifo, 'wb', buffering=0) as released:  # Opened once the worker has opened it.
            yield
            released.write(b'x')
        holder.join()

    return running, hold


def send(connection, path):
    connection.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())


def begin(running, path):
    """A request on a connection of its own, whose answer nobody has read yet."""
    connection = socket.create_connection(('127.0.0.1', running.port), timeout=30)
    send(connection, path)
    return connection


def test_due_timers_and_connections_that_are_there_come_before_new_ones(held):
    running, hold = held
    with contextlib.ExitStack() as opened:
        kept = opened.enter_context(running.connect())
        ask(kept, '/order')
        sleeping = opened.enter_context(begin(running, '/sleep'))
        with hold():
            send(kept, '/kept')
            new = opened.enter_context(begin(running, '/new'))
        for connection in (sleeping, kept, new):
            assert connection.recv(1 << 16)
    assert running.get('/order')[2] == b'timer kept new'


def test_connections_that_came_before_the_worker_is_told_to_end_are_served(held):
    running, hold = held
    with contextlib.ExitStack() as opened:
        with hold():
            new = opened.enter_context(begin(running, '/new'))
            running.process.send_signal(signal.SIGINT)
        assert new.recv(1 << 16).startswith(b'HTTP/1.1 200 ')


def test_a_burst_of_new_connections_ends_when_others_have_waited(held):
    running, hold = held
    with contextlib.ExitStack() as opened:
        ticking = opened.enter_context(begin(running, '/tick'))
        with hold():
            new = [opened.enter_context(begin(running, '/begin')) for _ in range(NEW)]
        for connection in (ticking, *new):
            assert connection.recv(1 << 16)
    order = running.get('/order')[2].decode().split()
    assert order.count('new') == NEW
    assert 'new new' not in ' '.join(order)
