"""What one callback writes to a transport goes out together. asyncio's transports, which send each write at once, are the reference
for the bytes, their order and the end of a connection."""
import asyncio
import os
import socket
import sys
import threading

import pytest
import uwsgi_tornado
from recorder import BufferedRecorder, Recorder, lost, turn, until

KEPT_MOST = 65536


@pytest.fixture
def together(loop):
    """Whether the loop sends together what a callback writes."""
    return isinstance(loop, uwsgi_tornado.EventLoop)


class Line:
    """A transport, its protocol, and the peer, which gets a message for each system call that sends."""

    def __init__(self, loop, protocol, kind=socket.SOCK_SEQPACKET):
        self.loop, self.protocol = loop, protocol
        end, self.peer = socket.socketpair(socket.AF_UNIX, kind)
        for one in (end, self.peer):
            one.setblocking(False)
        made = loop.create_future()
        self.transport = loop._make_socket_transport(end, protocol, made)
        loop.run_until_complete(made)

    def messages(self):
        """What has come by now."""
        came = []
        try:
            while message := self.peer.recv(1 << 20):
                came.append(message)
        except BlockingIOError:
            pass
        return came

    def ended(self):
        try:
            return self.peer.recv(1) == b''
        except BlockingIOError:
            return False

    def in_callback(self, act):
        """Runs act(transport) as a callback, and gives what it returned."""
        results = []
        self.loop.call_soon(lambda: results.append(act(self.transport)))
        turn(self.loop)
        return results[0]

    def fill(self):
        """Leaves no room in the kernel; returns how many bytes that takes."""
        filled = 0
        try:
            while True:
                filled += os.write(self.transport._sock_fd, b'.' * 4096)
        except BlockingIOError:
            return filled

    def all_of(self, size):
        received = b''

        def complete():
            nonlocal received
            received += b''.join(self.messages())
            return len(received) >= size
        until(self.loop, complete)
        return received


@pytest.fixture
def line(loop):
    lines = []

    def make(protocol=None, **options):
        lines.append(Line(loop, protocol or Recorder(), **options))
        return lines[-1]
    yield make
    for one in lines:
        if not one.transport.is_closing():
            one.transport.abort()
        one.peer.close()
    turn(loop, 3)


# --- Together ------------------------------------------------------------------------------------

def test_two_writes_of_a_callback_are_one_message(line, together):
    one = line()

    def write(transport):
        transport.write(b'head')
        transport.write(b'')
        transport.write(b'body')
    one.in_callback(write)
    assert one.messages() == ([b'headbody'] if together else [b'head', b'body'])


def test_lines_and_writes_keep_their_order(line, together):
    one = line()

    def write(transport):
        transport.writelines([b'1', bytearray(b'2')])
        transport.write(b'3')
        transport.writelines((b'4', b'5'))
    one.in_callback(write)
    came = one.messages()
    assert b''.join(came) == b'12345'
    if together:
        assert came == [b'12345']


@pytest.mark.parametrize('kind', (Recorder, lambda **act: BufferedRecorder(bytearray(100), **act)), ids=('Protocol', 'BufferedProtocol'))
def test_what_data_received_writes_is_one_message(loop, line, together, kind):
    def answer(transport):
        transport.write(b'head')
        transport.write(b'body')
    one = line(kind(data=answer))
    one.peer.send(b'request')
    until(loop, lambda: one.protocol.received)
    assert one.messages() == ([b'headbody'] if together else [b'head', b'body'])


def test_each_callback_sends_its_own(loop, line, together):
    one = line()

    def write(begin):
        one.transport.write(begin)
        one.transport.write(b'.')
    for begin in (b'first', b'second'):
        loop.call_soon(write, begin)
    turn(loop)
    assert one.messages() == ([b'first.', b'second.'] if together else [b'first', b'.', b'second', b'.'])


def test_a_step_of_a_task_with_streams_is_one_message(loop, line, together):
    one = line(asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), loop=loop))
    writer = asyncio.StreamWriter(one.transport, one.protocol, None, loop)

    async def answer():
        writer.write(b'head')
        await writer.drain()
        writer.write(b'body')
        await writer.drain()
        writer.writelines([b'ta', b'il'])
        await asyncio.sleep(0)
        writer.write(b'next')
    loop.run_until_complete(answer())
    came = one.messages()
    assert b''.join(came) == b'headbodytailnext'
    if together:
        assert came == [b'headbodytail', b'next']


def test_two_transports(loop, line, together):
    first, second = line(), line()

    def write(transport):
        for number in (b'1', b'2'):
            first.transport.write(number)
            second.transport.write(number * 2)
    first.in_callback(write)
    assert [b''.join(one.messages()) for one in (first, second)] == [b'12', b'1122']


# --- At once -------------------------------------------------------------------------------------

def test_outside_a_callback_it_is_sent_at_once(line):
    one = line()
    one.transport.write(b'1')
    one.transport.write(b'2')
    assert one.messages() == [b'1', b'2']


def test_another_thread_sends_at_once_and_what_was_kept_first(line):
    one = line()

    def write(transport):
        transport.write(b'callback ')
        thread = threading.Thread(target=transport.write, args=(b'thread',))
        thread.start()
        thread.join()
        return b''.join(one.messages())
    assert one.in_callback(write) == b'callback thread'


@pytest.mark.parametrize('kind', (bytearray, lambda data: memoryview(bytearray(data))), ids=('bytearray', 'memoryview'))
def test_what_may_change_is_sent_at_once_with_what_is_kept(line, together, kind):
    one = line()

    def write(transport):
        transport.write(b'head')
        body = kind(b'body')
        transport.write(body)
        body[:] = b'lost'
        return one.messages()
    assert one.in_callback(write) == ([b'headbody'] if together else [b'head', b'body'])


@pytest.mark.parametrize('high', (KEPT_MOST, 1 << 20))
def test_more_than_64_kib_are_not_kept(line, together, high):
    one = line()
    one.transport.set_write_buffer_limits(high)
    piece = b'x' * (KEPT_MOST // 2)

    def write(transport):
        came = []
        for data in (piece, piece, b'!'):
            transport.write(data)
            came.append([len(message) for message in one.messages()])
        return came
    assert one.in_callback(write) == ([[], [], [KEPT_MOST + 1]] if together else [[KEPT_MOST // 2]] * 2 + [[1]])


@pytest.mark.parametrize('high', (0, 10))
def test_more_than_the_high_water_mark_is_not_kept(line, together, high):
    one = line()

    def write(transport):
        transport.set_write_buffer_limits(high)
        came = []
        for data in (b'0123456789', b'!'):
            transport.write(data)
            came.append(one.messages())
        return came
    assert one.in_callback(write) == ([[], [b'0123456789!']] if together and high else [[b'0123456789'], [b'!']])


def test_many_small_pieces(line, together):
    one = line()
    pieces = [b'%04d' % number for number in range(600)]

    def write(transport):
        for piece in pieces:
            transport.write(piece)
        transport.writelines(pieces)
    one.in_callback(write)
    came = []
    while sum(map(len, came)) < 4800:
        came += one.messages()
        turn(one.loop)
    assert b''.join(came) == b''.join(pieces * 2)
    if together:
        assert len(came) < 10


def test_many_small_pieces_and_one_that_is_not_kept(line):
    one = line(kind=socket.SOCK_STREAM)
    pieces = [b'%04d' % number for number in range(1500)]

    def write(transport):
        for piece in pieces:
            transport.write(piece)
        transport.write(bytearray(b'last'))
    one.in_callback(write)
    assert one.all_of(6004) == b''.join(pieces) + b'last'


def test_asked_for_its_socket(line):
    one = line()

    def write(transport):
        transport.write(b'transport')
        os.write(transport.get_extra_info('socket').fileno(), b'socket')
    one.in_callback(write)
    assert one.messages() == [b'transport', b'socket']


def test_nothing_is_kept_once_somebody_looks(line):
    one = line()

    def write(transport):
        transport.write(b'seen')
        return transport.get_write_buffer_size(), one.messages()
    assert one.in_callback(write) == (0, [b'seen'])


# --- The kernel has no room ----------------------------------------------------------------------

def test_what_the_kernel_does_not_take_is_sent_later(loop, line):
    one = line(kind=socket.SOCK_STREAM)
    filled = one.fill()

    def write(transport):
        transport.write(b'a' * 1000)
        transport.write(b'b' * 1000)
    one.in_callback(write)
    assert one.transport.get_write_buffer_size() == 2000 and one.protocol.names == ['made']
    assert one.all_of(filled + 2000)[filled:] == b'a' * 1000 + b'b' * 1000
    until(loop, lambda: one.transport.get_write_buffer_size() == 0)


def test_writing_is_paused_as_the_limits_say(loop, line):
    one = line(kind=socket.SOCK_STREAM)
    filled = one.fill()

    def write(transport):
        transport.write(b'x' * 1000)
        names = [list(one.protocol.names)]
        transport.set_write_buffer_limits(high=10)
        return names + [one.protocol.names]
    assert one.in_callback(write) == [['made'], ['made', 'pause']]
    one.all_of(filled + 1000)
    until(loop, lambda: one.protocol.names == ['made', 'pause', 'resume'])


def test_a_drain_waits_where_the_kernel_has_no_room(loop, line):
    one = line(asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), loop=loop), kind=socket.SOCK_STREAM)
    writer = asyncio.StreamWriter(one.transport, one.protocol, None, loop)
    filled = one.fill()

    async def write():
        writer.write(b'x' * KEPT_MOST)
        await asyncio.wait_for(writer.drain(), 10)  # Not above the mark yet.
        writer.write(b'y')
        assert one.protocol._paused
        await writer.drain()
    task = loop.create_task(write())
    turn(loop, 5)
    assert not task.done()
    assert one.all_of(filled + KEPT_MOST + 1)[filled:] == b'x' * KEPT_MOST + b'y'
    loop.run_until_complete(task)


@pytest.mark.parametrize('closed', (False, True))
@pytest.mark.parametrize('pieces', ([b'tail'], [b'ta', b'il']), ids=len)
def test_written_as_writing_resumes(loop, line, pieces, closed):
    one = line(Recorder(resume=lambda transport: [transport.write(piece) for piece in pieces]), kind=socket.SOCK_STREAM)
    filled = one.fill()
    one.transport.write(b'x' * 100_000)
    if closed:
        one.transport.close()
    assert one.all_of(filled + 100_004)[filled:] == b'x' * 100_000 + b'tail'
    if closed:
        assert lost(loop, one.protocol) is None
    assert one.protocol.names == ['made', 'pause', 'resume'] + ['lost'] * closed
    turn(loop)
    assert closed or 'write=<idle, bufsize=0>' in repr(one.transport)


# --- The end -------------------------------------------------------------------------------------

@pytest.mark.parametrize('how', ('close', 'abort', 'write_eof'))
def test_ended_after_a_write(loop, line, together, how):
    one = line()

    def write(transport):
        transport.write(b'head')
        transport.write(b'body')
        getattr(transport, how)()
        return one.messages()
    assert one.in_callback(write) == ([b'headbody'] if together else [b'head', b'body'])
    until(loop, one.ended)
    if how != 'write_eof':
        assert lost(loop, one.protocol) is None
        assert one.protocol.names == ['made', 'lost']


@pytest.mark.parametrize('how', (None, 'close', 'abort', 'write_eof'))
def test_the_peer_is_gone(loop, line, errors, how):
    one = line()

    def write(transport):
        one.peer.close()
        transport.write(b'1')
        transport.write(b'2')
        if how:
            getattr(transport, how)()
    one.in_callback(write)
    assert one.transport.is_closing()
    assert isinstance(lost(loop, one.protocol), BrokenPipeError)
    assert one.protocol.names == ['made', 'lost'] and not errors


@pytest.mark.parametrize('error', (ValueError, SystemExit, KeyboardInterrupt))
def test_a_callback_that_raises_sends_what_it_has_written(loop, line, errors, error):
    one = line()

    def write():
        one.transport.write(b'written')
        raise error
    loop.call_soon(write)
    if error is ValueError:
        turn(loop)
        assert [type(told['exception']) for told in errors] == [ValueError]
    else:
        with pytest.raises(error):
            turn(loop)
    assert one.messages() == [b'written']


def test_sendfile_comes_after_what_was_written(loop, line, tmp_path):
    one = line(kind=socket.SOCK_STREAM)
    (tmp_path / 'body').write_bytes(b'body')

    async def send():
        one.transport.write(b'head')
        with open(tmp_path / 'body', 'rb') as body:
            await loop.sendfile(one.transport, body)
        one.transport.write(b'tail')
    loop.run_until_complete(send())
    assert one.all_of(12) == b'headbodytail'


@pytest.mark.skipif(sys.version_info >= (3, 12), reason='warns of the fork of a process with threads')
def test_a_forked_child_does_not_send_it_again(loop, line):
    one = line()

    child = None

    def fork(transport):
        nonlocal child
        transport.write(b'once')
        child = os.fork()
    try:
        one.in_callback(fork)
    finally:
        if child == 0:
            os._exit(0)
    os.waitpid(child, 0)
    assert one.messages() == [b'once']


def test_in_debug_mode(loop, line, together):
    loop.set_debug(True)
    one = line()

    def write(transport):
        transport.write(b'head')
        transport.write(b'body')
    one.in_callback(write)
    assert one.messages() == ([b'headbody'] if together else [b'head', b'body'])
