"""--tornado-coalesce: chunks that follow one another are sent together, and none waits for the application."""
import contextlib
import os
import pathlib
import re

import pytest

from conftest import ask

OPTION = '--tornado-coalesce'
MANY = b''.join(b'%-100d' % number for number in range(100))
LARGE = b''.join(b'%-1000d' % number + (bytes(100_000) if number % 500 == 0 else b'') for number in range(2000))


@pytest.fixture
def running(server):
    return server('coalesced.py', OPTION)


def opened(running, path, method='GET'):
    connection = running.connect()
    connection.sendall(f'{method} {path} HTTP/1.0\r\n\r\n'.encode())
    return connection


def read_until(connection, end):
    received = b''
    while not received.endswith(end):
        some = connection.recv(1 << 16)
        assert some, received
        received += some
    return received


def writes_of(running):
    """How often its worker has called write() and writev()."""
    return int(re.search(r'syscw: (\d+)', pathlib.Path(f'/proc/{running.process.pid}/io').read_text())[1])


def test_chunks_that_follow_one_another_are_sent_together(running):
    assert running.get('/many')[2] == MANY
    before = writes_of(running)
    assert running.get('/many')[2] == MANY
    assert writes_of(running) - before < 40  # Of 100 chunks.


def test_what_was_yielded_is_sent_before_the_request_waits(running, tmp_path):
    fifo = tmp_path / 'fifo'
    os.mkfifo(fifo)
    with opened(running, f'/waiting?{fifo}') as connection:
        read_until(connection, b'head one two ')
        with open(fifo, 'wb') as release:
            release.write(b'x')
        read_until(connection, b'three four')


def test_what_was_yielded_is_sent_while_the_request_computes(running):
    with opened(running, '/computing') as connection:
        read_until(connection, b'head one two ')
        assert running.get('/release')[2] == b'released'
        read_until(connection, b'three')


def test_an_exception_comes_after_what_was_yielded(running):
    with opened(running, '/failing') as connection:
        read_until(connection, b'head one two ')
        assert connection.recv(1) == b''
    running.wait_for_log('LookupError: after three chunks')
    assert 'in failing' in running.log


def test_what_is_no_bytes_is_left_to_uwsgi(running, server):
    assert running.get('/odd')[2] == server('coalesced.py').get('/odd')[2]


def test_slow_reader_gets_all_in_order(running):
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(opened(running, '/large')) for _ in range(5)]
        assert running.get('/many')[2] == MANY  # They all stand still meanwhile, or soon.
        for connection in slow:
            received = b''.join(iter(lambda: connection.recv(1 << 16), b''))
            assert received.split(b'\r\n\r\n', 1)[1] == LARGE


def test_a_client_that_leaves_ends_its_response_only(running):
    for _ in range(5):
        with opened(running, '/large') as connection:
            connection.recv(100)
    assert running.get('/many')[2] == MANY


def test_a_child_sends_nothing_of_its_parents(running):
    with opened(running, '/forking') as connection:
        received = b''.join(iter(lambda: connection.recv(1 << 16), b''))
    assert received.endswith(b'\r\n\r\nhead one two')


def test_kept_connection_serves_the_next_request(server):
    running = server('coalesced.py', OPTION, protocol='http11-socket')
    with running.connect() as connection:
        for _ in range(3):
            assert ask(connection, '/many') == (200, MANY)


def test_head_has_no_body(running):
    with opened(running, '/many', 'HEAD') as connection:
        assert b''.join(iter(lambda: connection.recv(1 << 16), b'')).endswith(b'\r\n\r\n')
