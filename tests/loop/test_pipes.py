"""Transports of pipes. asyncio's are the reference."""
import asyncio
import os
import socket

import pytest

DATA = os.urandom(1_000_000)


class Recorder(asyncio.Protocol):
    def __init__(self, act=lambda transport: None):
        self.received, self.told, self.act = b'', [], act
        self.lost = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        assert type(data) is bytes
        self.received += data
        self.told.append(len(data))
        self.act(self.transport)

    def eof_received(self):
        self.told.append('eof')

    def connection_lost(self, error):
        self.told.append(error)
        self.lost.set()


@pytest.fixture
def pipe(loop):
    """pipe(protocol): a transport reads for it; gives the writing end's number."""
    ends = []

    def make(protocol):
        reading, writing = os.pipe()
        file = os.fdopen(reading, 'rb', buffering=0)
        ends.append((protocol, writing))
        loop.run_until_complete(loop.connect_read_pipe(lambda: protocol, file))
        return writing
    yield make
    for protocol, writing in ends:
        os.close(writing)
        protocol.transport.close()
        loop.run_until_complete(protocol.lost.wait())
        loop.run_until_complete(asyncio.sleep(0))


def test_data_come_as_they_are_written(loop, pipe, until):
    protocol = Recorder()
    writing = pipe(protocol)
    for data in (b'x', DATA[:1000], DATA[:65536]):
        protocol.received = b''
        os.write(writing, data)
        until(lambda: len(protocol.received) == len(data))
        assert protocol.received == data


def test_the_end_comes_after_the_data(loop):
    protocol = Recorder()
    reading, writing = os.pipe()
    os.write(writing, b'last')
    os.close(writing)
    loop.run_until_complete(loop.connect_read_pipe(lambda: protocol, os.fdopen(reading, 'rb', buffering=0)))
    loop.run_until_complete(protocol.lost.wait())
    loop.run_until_complete(asyncio.sleep(0))
    assert protocol.received == b'last' and protocol.told == [4, 'eof', None]


def test_a_paused_transport_reads_nothing(loop, pipe, until):
    protocol = Recorder(lambda transport: transport.pause_reading())
    writing = pipe(protocol)
    for data in (b'a', b'b'):
        os.write(writing, data)
        until(lambda: protocol.received)
        os.write(writing, b'later')
        loop.run_until_complete(asyncio.sleep(0.001))
        assert protocol.received == data
        protocol.received = b''
        protocol.transport.resume_reading()
        until(lambda: protocol.received)
        assert protocol.received == b'later'
        protocol.received = b''
        protocol.transport.resume_reading()


def test_how_much_comes_at_once(loop, pipe, until):
    protocol = Recorder()
    writing = pipe(protocol)
    protocol.transport.max_size = 3
    os.write(writing, b'abcdefgh')
    until(lambda: len(protocol.received) == 8)
    assert protocol.told == [3, 3, 2]


def test_a_protocol_that_raises_keeps_its_pipe(loop, pipe, errors, until):
    error = LookupError('of the protocol')

    def act(transport):
        raise error
    protocol = Recorder(act)
    writing = pipe(protocol)
    os.write(writing, b'a')
    until(lambda: errors)
    assert errors[0]['exception'] is error and not protocol.transport.is_closing()
    protocol.act = lambda transport: None
    os.write(writing, b'b')
    until(lambda: protocol.received == b'ab')
    errors.clear()
    error.__traceback__ = None


def test_a_descriptor_that_cannot_be_read_is_fatal(loop, errors):
    protocol = Recorder()
    reading, writing = os.pipe()
    file = os.fdopen(reading, 'rb', buffering=0)
    loop.run_until_complete(loop.connect_read_pipe(lambda: protocol, file))
    os.dup2(writing, reading)  # The same file to the loop: a pipe has one identity.
    protocol.transport._read_ready()
    loop.run_until_complete(protocol.lost.wait())
    assert isinstance(protocol.told[-1], OSError)
    os.close(writing)
    loop.run_until_complete(asyncio.sleep(0))


# --- What is no pipe -----------------------------------------------------------------------------

def test_a_terminal_s_end_is_told_once(loop):
    """The end of a terminal's input is there for one read."""
    master, slave = os.openpty()
    protocol = Recorder()
    loop.run_until_complete(loop.connect_read_pipe(lambda: protocol, os.fdopen(slave, 'rb', buffering=0)))
    os.write(master, b'a line\n\4')
    loop.run_until_complete(asyncio.wait_for(protocol.lost.wait(), 10))
    assert protocol.received == b'a line\n' and protocol.told[1:] == ['eof', None]
    os.close(master)


def test_an_error_of_a_socket_is_told(loop, errors):
    """The kernel tells it once."""
    ours, theirs = socket.socketpair()
    protocol = Recorder()
    loop.run_until_complete(loop.connect_read_pipe(lambda: protocol, ours))
    ours.send(b'never read')
    theirs.close()
    loop.run_until_complete(asyncio.wait_for(protocol.lost.wait(), 10))
    assert [type(told) for told in protocol.told] == [type(told['exception']) for told in errors] == [ConnectionResetError]
    errors.clear()
