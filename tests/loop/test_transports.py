"""Transports of stream sockets, seen by their protocols. asyncio's are the reference."""
import asyncio
import contextvars
import gc
import logging
import os
import socket
import sys
import warnings
import weakref

import pytest
import uwsgi_tornado
from recorder import BufferedRecorder, Recorder, lost, raising, turn, until

DATA = os.urandom(2_000_000)


class Buffered(BufferedRecorder):
    def __init__(self, **act):
        super().__init__(bytearray(50_000), **act)

    def get_buffer(self, size_hint):
        assert size_hint == -1
        return super().get_buffer(size_hint)


def pair(family):
    if family == socket.AF_UNIX:
        return socket.socketpair()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # The kernel would keep megabytes.
        listener.bind(('127.0.0.1', 0))
        listener.listen()
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        peer.connect(listener.getsockname())
        end, _ = listener.accept()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    return end, peer


@pytest.fixture
def connect(loop):
    """connect(protocol) gives the other end of its connection, which does not block."""
    peers = []

    def connect(protocol, family=socket.AF_UNIX):
        end, peer = pair(family)
        peer.setblocking(False)
        peers.append(peer)
        loop.run_until_complete(loop.create_connection(lambda: protocol, sock=end))
        return peer
    yield connect
    for peer in peers:
        peer.close()
    turn(loop, 3)


def receive_all(loop, peer, size):
    received = b''
    while len(received) < size:
        try:
            received += peer.recv(1 << 20)
        except BlockingIOError:
            turn(loop)
    return received


# --- Reading -----------------------------------------------------------------------------------

@pytest.mark.parametrize('kind', (Recorder, Buffered))
def test_a_connection_from_its_begin_to_its_end(loop, connect, kind):
    protocol = kind()
    peer = connect(protocol)
    assert protocol.names == ['made']
    peer.send(b'hello')
    until(loop, lambda: protocol.received == b'hello')
    protocol.transport.write(b'world')
    assert peer.recv(100) == b'world'
    peer.close()
    assert lost(loop, protocol) is None
    assert protocol.names == ['made', 'data', 'eof', 'lost']
    assert protocol.transport.is_closing() and not protocol.transport.is_reading()


@pytest.mark.parametrize('kind', (Recorder, Buffered))
def test_everything_arrives(loop, connect, kind):
    protocol = kind()
    peer = connect(protocol)
    sent = 0
    while sent < len(DATA):
        try:
            sent += peer.send(DATA[sent:])
        except BlockingIOError:
            turn(loop)
    until(loop, lambda: len(protocol.received) == len(DATA))
    assert protocol.received == DATA


def test_what_is_there_comes_in_one_piece(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    for _ in range(3):
        peer.send(b'x' * 30_000)
    until(loop, lambda: protocol.received)
    assert len(protocol.told) == 2 and 60_000 < len(protocol.received)


def test_a_protocol_gives_place_to_another_while_it_is_called(loop, connect):
    second = Buffered()

    def change(transport):
        second.transport = transport
        transport.set_protocol(second)
    first = Recorder(data=change)
    peer = connect(first)
    peer.send(b'first')
    until(loop, lambda: first.received)
    peer.send(b'second')
    until(loop, lambda: second.received)
    assert (first.received, second.received) == (b'first', b'second')
    assert second.transport.get_protocol() is second
    second.transport.set_protocol(first)
    first.act.clear()
    peer.send(b'third')
    until(loop, lambda: len(first.received) > 5)
    assert first.received == b'firstthird'
    peer.close()
    lost(loop, first)


def test_reading_pauses(loop, connect):
    protocol = Recorder(data=lambda transport: transport.pause_reading())
    peer = connect(protocol)
    peer.send(b'1')
    until(loop, lambda: protocol.received == b'1')
    assert not protocol.transport.is_reading()
    peer.send(b'2')
    turn(loop, 5)
    assert protocol.received == b'1'
    protocol.transport.resume_reading()
    protocol.transport.resume_reading()
    until(loop, lambda: protocol.received == b'12')
    protocol.transport.close()
    protocol.transport.pause_reading()
    protocol.transport.resume_reading()
    lost(loop, protocol)
    protocol.transport.pause_reading()


def test_reading_pauses_before_it_begins(loop, connect, loop_type):
    protocol = Recorder(made=lambda transport: transport.pause_reading())
    peer = connect(protocol)
    peer.send(b'data')
    turn(loop, 5)
    if loop_type is uwsgi_tornado.EventLoop or sys.version_info >= (3, 12):  # asyncio of 3.11.2 reads all the same.
        assert protocol.names == ['made']
        protocol.transport.resume_reading()
    until(loop, lambda: protocol.received == b'data')


def test_the_end_may_leave_the_connection_open(loop, connect):
    protocol = Recorder(eof=lambda transport: True)
    peer = connect(protocol)
    peer.shutdown(socket.SHUT_WR)
    until(loop, lambda: 'eof' in protocol.names)
    turn(loop, 3)
    assert protocol.names == ['made', 'eof']
    protocol.transport.write(b'answer')
    assert peer.recv(100) == b'answer'
    protocol.transport.close()
    assert lost(loop, protocol) is None


# --- Writing -----------------------------------------------------------------------------------

@pytest.mark.parametrize('family', (socket.AF_UNIX, socket.AF_INET))
@pytest.mark.parametrize('kind', (bytes, bytearray, memoryview))
def test_what_the_kernel_does_not_take_is_sent_later(loop, connect, kind, family):
    protocol = Recorder()
    peer = connect(protocol, family)
    transport = protocol.transport
    transport.write(kind(DATA))
    left = transport.get_write_buffer_size()
    assert 0 < left < len(DATA)
    transport.write(kind(b'more'))
    assert transport.get_write_buffer_size() == left + 4
    transport.writelines([kind(b'lines'), kind(b''), kind(b'!')])
    expected = DATA + b'morelines!'
    assert receive_all(loop, peer, len(expected)) == expected
    until(loop, lambda: transport.get_write_buffer_size() == 0)
    assert protocol.names == ['made', 'pause', 'resume']


def test_many_pieces_are_sent_in_their_order(loop, loop_type, connect):
    protocol = Recorder()
    peer = connect(protocol)
    # From 3.12 on asyncio adds up what it keeps at each write.
    pieces = [b'%d,' % number for number in range(5_000 if loop_type is asyncio.SelectorEventLoop else 200_000)]
    for piece in pieces:
        protocol.transport.write(piece)
    expected = b''.join(pieces)
    assert protocol.transport.get_write_buffer_size()
    assert receive_all(loop, peer, len(expected)) == expected


@pytest.mark.parametrize('kind', (list, tuple, iter))
def test_lines_go_together(loop, connect, kind):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.writelines(kind([b'a', b'bc', bytearray(b'd'), memoryview(b'ef')]))
    assert peer.recv(100) == b'abcdef'


def test_what_is_kept_does_not_change_with_its_source(loop, loop_type, connect):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.write(DATA)
    left = bytearray(b'kept')
    protocol.transport.write(left)
    left[:] = b'lost'
    keeps_the_source = loop_type is asyncio.SelectorEventLoop and sys.version_info >= (3, 12)
    assert receive_all(loop, peer, len(DATA) + 4)[-4:] == (b'lost' if keeps_the_source else b'kept')


def test_water_marks(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    transport = protocol.transport
    assert transport.get_write_buffer_limits() == (16384, 65536)
    transport.set_write_buffer_limits(high=4_000_000)
    assert transport.get_write_buffer_limits() == (1_000_000, 4_000_000)
    transport.write(DATA)
    assert protocol.names == ['made']
    transport.set_write_buffer_limits(high=1000, low=10)
    assert protocol.names == ['made', 'pause']
    with pytest.raises(ValueError, match=r'high \(1\) must be >= low \(2\) must be >= 0'):
        transport.set_write_buffer_limits(high=1, low=2)
    receive_all(loop, peer, len(DATA))
    until(loop, lambda: protocol.names == ['made', 'pause', 'resume'])
    transport.set_write_buffer_limits(0)
    transport.write(b'sent at once')
    assert protocol.names == ['made', 'pause', 'resume']


def test_half_closed_once_all_is_sent(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    transport = protocol.transport
    assert transport.can_write_eof()
    transport.write(DATA)
    transport.write_eof()
    transport.write_eof()
    with pytest.raises(RuntimeError, match=r'Cannot call write\(\) after write_eof\(\)'):
        transport.write(b'')
    with pytest.raises(RuntimeError, match=r'Cannot call write(lines)?\(\) after write_eof\(\)'):
        transport.writelines([b'x'])
    assert receive_all(loop, peer, len(DATA)) == DATA
    turn(loop, 3)
    assert peer.recv(1) == b''
    peer.send(b'still read')
    until(loop, lambda: protocol.received == b'still read')


def test_half_closed_at_once(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.write_eof()
    assert peer.recv(1) == b''
    protocol.transport.close()
    protocol.transport.write_eof()
    lost(loop, protocol)


@pytest.mark.parametrize('data', ('text', 1, None, [b'x']))
def test_what_is_no_bytes_is_refused(loop, loop_type, connect, data):
    protocol = Recorder()
    connect(protocol)
    kinds = 'a bytes-like|a bytes, bytearray, or memoryview'  # The first is ours, and asyncio's up to 3.12.
    with pytest.raises(TypeError, match=f"data argument must be ({kinds}) object, not '{type(data).__name__}'"):
        protocol.transport.write(data)
    # asyncio's writelines() leaves out what is false since 3.14.
    if data or loop_type is not asyncio.SelectorEventLoop or sys.version_info < (3, 14):
        with pytest.raises(TypeError):
            protocol.transport.writelines([b'good', data])
    assert protocol.transport.get_write_buffer_size() == 0


def test_writes_to_a_lost_connection_are_logged_from_the_fifth_on(loop, connect, caplog):
    protocol = Recorder()
    connect(protocol)
    protocol.transport.abort()
    for count in range(4):
        protocol.transport.write(b'x')
        protocol.transport.write(b'')
    assert not caplog.messages
    lost(loop, protocol)
    protocol.transport.write(b'x')
    assert caplog.messages == ['socket.send() raised exception.']


# --- Closing -----------------------------------------------------------------------------------

def test_close_sends_what_is_kept_and_reads_no_more(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.write(DATA)
    protocol.transport.close()
    protocol.transport.close()
    peer.send(b'unread')
    assert receive_all(loop, peer, len(DATA)) == DATA
    assert lost(loop, protocol) is None
    assert protocol.names == ['made', 'pause', 'resume', 'lost']


def test_abort_drops_what_is_kept(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.write(DATA)
    protocol.transport.abort()
    protocol.transport.abort()
    assert protocol.transport.get_write_buffer_size() == 0 and protocol.transport.is_closing()
    assert lost(loop, protocol) is None
    assert protocol.names == ['made', 'pause', 'lost']
    received = b''
    while more := peer.recv(1 << 20):
        received += more
    assert len(received) < len(DATA)


@pytest.mark.parametrize('end', ('close', 'abort'))
@pytest.mark.parametrize('when', ('made', 'data', 'eof'))
def test_a_protocol_ends_its_connection_while_it_is_called(loop, connect, errors, when, end):
    protocol = Recorder(**{when: lambda transport: getattr(transport, end)()})
    peer = connect(protocol)
    if when != 'made':
        peer.send(b'data')
    peer.shutdown(socket.SHUT_WR)
    assert lost(loop, protocol) is None
    turn(loop, 3)
    assert protocol.names == {'made': ['made', 'lost'], 'data': ['made', 'data', 'lost'],
                              'eof': ['made', 'data', 'eof', 'lost']}[when]
    assert not errors


def test_a_protocol_closes_as_it_may_write_again(loop, connect, errors, loop_type):
    protocol = Recorder(resume=lambda transport: transport.close())
    peer = connect(protocol)
    protocol.transport.write(DATA)
    assert receive_all(loop, peer, len(DATA)) == DATA
    assert lost(loop, protocol) is None
    turn(loop, 3)
    if loop_type is uwsgi_tornado.EventLoop:  # asyncio calls connection_lost() a second time, of None.
        assert protocol.names == ['made', 'pause', 'resume', 'lost'] and not errors


def test_a_protocol_writes_as_it_may_write_again(loop, connect):
    protocol = Recorder(resume=lambda transport: transport.write(b'more') or transport.write_eof())
    peer = connect(protocol)
    protocol.transport.write(DATA)
    assert receive_all(loop, peer, len(DATA) + 4) == DATA + b'more'
    turn(loop, 3)
    assert peer.recv(1) == b''


def test_the_peer_resets(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.write(b'unread')
    peer.close()  # With something unread: ECONNRESET.
    assert type(lost(loop, protocol)) is ConnectionResetError
    assert protocol.names == ['made', 'lost']


def test_the_peer_is_gone_as_it_is_written_to(loop, connect):
    protocol = Recorder(made=lambda transport: transport.pause_reading())
    peer = connect(protocol)
    protocol.transport.pause_reading()
    peer.close()
    protocol.transport.write(b'x')
    protocol.transport.write(b'x')
    assert type(lost(loop, protocol)) is BrokenPipeError


def test_the_peer_is_gone_before_the_rest_is_sent(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.pause_reading()
    protocol.transport.write(DATA)
    peer.close()
    assert isinstance(lost(loop, protocol), ConnectionError)
    assert protocol.transport.get_write_buffer_size() == 0


# --- Errors ------------------------------------------------------------------------------------

@pytest.mark.parametrize('kind, when, message', (
    (Recorder, 'data', 'Fatal error: protocol.data_received() call failed.'),
    (Recorder, 'eof', 'Fatal error: protocol.eof_received() call failed.'),
    (Buffered, 'data', 'Fatal error: protocol.buffer_updated() call failed.'),
    (Buffered, 'get_buffer', 'Fatal error: protocol.get_buffer() call failed.'),
))
def test_a_protocol_that_raises_loses_its_connection(loop, connect, errors, kind, when, message):
    error = LookupError('of the protocol')
    seen = []
    protocol = kind(**{when: raising(error)})
    peer = connect(protocol)
    loop.set_exception_handler(lambda loop, context: errors.append(context) or seen.append(sys.exc_info()[1]))
    peer.send(b'data')
    peer.shutdown(socket.SHUT_WR)
    assert lost(loop, protocol) is error
    assert errors == [{'message': message, 'exception': error, 'transport': protocol.transport, 'protocol': protocol}]
    assert seen == [error]
    error.__traceback__ = None


@pytest.mark.parametrize('when', ('pause', 'resume'))
def test_a_protocol_that_raises_as_it_is_told_of_writing_keeps_its_connection(loop, connect, errors, when):
    error = LookupError('of the protocol')
    protocol = Recorder(**{when: raising(error)})
    peer = connect(protocol)
    protocol.transport.write(DATA)
    assert receive_all(loop, peer, len(DATA)) == DATA
    until(loop, lambda: errors)
    assert errors == [{'message': f'protocol.{when}_writing() failed', 'exception': error,
                       'transport': protocol.transport, 'protocol': protocol}]
    assert not protocol.transport.is_closing()
    error.__traceback__ = None


def test_a_protocol_that_raises_at_the_end_has_its_socket_closed(loop, connect, errors):
    error = LookupError('of the protocol')
    protocol = Recorder(lost=raising(error))
    peer = connect(protocol)
    protocol.transport.close()
    lost(loop, protocol)
    assert [told['exception'] for told in errors] == [error] and 'Exception in callback' in errors[0]['message']
    assert peer.recv(1) == b''
    error.__traceback__ = None


@pytest.mark.parametrize('room, error', ((b'', RuntimeError), (None, TypeError), (b'constant', BufferError)))
def test_a_buffer_that_does_not_do(loop, connect, errors, room, error):
    protocol = Buffered(get_buffer=lambda transport: room)
    peer = connect(protocol)
    peer.send(b'data')
    found = lost(loop, protocol)
    assert isinstance(found, error) or (room == b'constant' and isinstance(found, TypeError))
    assert errors[0]['message'] == ('Fatal read error on socket transport' if room == b'constant'
                                    else 'Fatal error: protocol.get_buffer() call failed.')


@pytest.mark.parametrize('kind, when', ((Recorder, 'data'), (Recorder, 'eof'), (Buffered, 'data'), (Buffered, 'get_buffer')))
@pytest.mark.parametrize('exit', (SystemExit, KeyboardInterrupt))
def test_an_exit_ends_the_run(loop, connect, errors, kind, when, exit):
    protocol = kind(**{when: raising(exit)})
    peer = connect(protocol)
    peer.send(b'data')
    peer.shutdown(socket.SHUT_WR)
    with pytest.raises(exit):
        until(loop, lambda: False)
    assert not errors and not protocol.transport.is_closing()
    protocol.transport.abort()
    lost(loop, protocol)


# --- The socket --------------------------------------------------------------------------------

def test_a_number_that_means_another_file_by_now_is_let_alone(loop, connect):
    """The socket object has been closed by somebody; its number is a file's of which the transport knows nothing."""
    protocol = Recorder()
    connect(protocol)
    transport = protocol.transport
    number = transport.get_extra_info('socket').fileno()
    ours, theirs = socket.socketpair()
    transport._sock.close()
    with ours, theirs:
        os.dup2(ours.fileno(), number)
        try:
            theirs.send(b'not for the transport')
            transport.write(b'not for this file')
            assert isinstance(lost(loop, protocol), OSError)
            assert ours.recv(100) == b'not for the transport'
            ours.setblocking(False)
            theirs.setblocking(False)
            with pytest.raises(BlockingIOError):
                theirs.recv(100)
        finally:
            os.close(number)


def test_a_detached_socket_is_not_read(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    number = protocol.transport._sock.detach()
    peer.send(b'for the new owner')
    with pytest.raises(OSError):
        raise lost(loop, protocol)
    with socket.socket(fileno=number) as owner:
        assert owner.recv(100) == b'for the new owner'


def test_a_transport_knows_its_socket(loop, connect):
    async def main():
        server = await loop.create_server(Recorder, '127.0.0.1', 0)
        address = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(Recorder, *address)
        sock = transport.get_extra_info('socket')
        assert transport.get_extra_info('peername') == address == sock.getpeername()
        assert transport.get_extra_info('sockname') == sock.getsockname()
        assert transport.get_extra_info('cipher') is None
        assert transport.get_extra_info('cipher', default=1) == transport.get_extra_info('cipher', 1) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert isinstance(transport, asyncio.Transport)
        assert f' fd={sock.fileno()} read=polling write=<idle, bufsize=0>>' in repr(transport)
        transport.close()
        assert 'closing' in repr(transport) and 'read=idle' in repr(transport)
        await protocol.lost.wait()
        await asyncio.sleep(0)
        assert 'closed' in repr(transport)
        server.close()
        await server.wait_closed()
    loop.run_until_complete(main())
    turn(loop, 3)


def test_a_server_knows_its_connections(loop, tmp_path):
    async def main():
        serving = Recorder()
        server = await loop.create_unix_server(lambda: serving, tmp_path / 'socket')
        transport, protocol = await loop.create_unix_connection(Recorder, tmp_path / 'socket')
        transport.write(b'hello')
        while not serving.received:
            await asyncio.sleep(0)
        server.close()
        transport.close()
        await asyncio.wait_for(server.wait_closed(), 5)
        await serving.lost.wait()
    loop.run_until_complete(main())
    turn(loop, 3)


def test_a_transport_has_attributes_and_weak_references(loop, connect):
    protocol = Recorder()
    connect(protocol)
    protocol.transport.colour = 'red'
    assert protocol.transport.colour == 'red' and protocol.transport.__dict__['colour'] == 'red'
    assert weakref.ref(protocol.transport)() is protocol.transport


def test_a_socket_of_another_kind_has_asyncios_transport(loop):
    class Counting(socket.socket):
        sent = 0

        def send(self, data, *flags):
            self.sent += len(data)
            return super().send(data, *flags)
    end, peer = socket.socketpair()
    counting = Counting(fileno=end.detach())

    async def main():
        transport, protocol = await loop.create_connection(Recorder, sock=counting)
        transport.write(b'counted')
        assert counting.sent == 7 and peer.recv(100) == b'counted'
        transport.close()
        await protocol.lost.wait()
    with peer:
        loop.run_until_complete(main())


def test_sendfile_keeps_writes_away(loop, connect, tmp_path):
    (tmp_path / 'file').write_bytes(DATA)
    protocol = Recorder()
    peer = connect(protocol)
    with open(tmp_path / 'file', 'rb') as file:
        task = loop.create_task(loop.sendfile(protocol.transport, file))
        turn(loop, 5)
        with pytest.raises(RuntimeError, match='unable to write; sendfile is in progress'):
            protocol.transport.write(b'between')
        assert not protocol.transport.is_reading()
        assert receive_all(loop, peer, len(DATA)) == DATA
        assert loop.run_until_complete(task) == len(DATA)
    assert protocol.transport.is_reading()
    protocol.transport.write(b'after')
    assert peer.recv(100) == b'after'


# --- Surroundings ------------------------------------------------------------------------------

def test_the_protocol_is_called_in_the_context_of_whoever_made_the_connection(loop, connect):
    variable = contextvars.ContextVar('variable')
    seen = []
    protocol = Recorder(**{name: lambda transport: seen.append(variable.get('nothing')) for name in ('made', 'data', 'lost')})

    async def main():
        variable.set('set')
        await loop.create_connection(lambda: protocol, sock=end)
    end, peer = socket.socketpair()
    with peer:
        loop.run_until_complete(main())
        peer.send(b'data')
        until(loop, lambda: protocol.received)
        peer.close()
        lost(loop, protocol)
    assert seen == ['set', 'set', 'set']


def test_what_debug_mode_says(loop, connect, caplog):
    caplog.set_level(logging.DEBUG)
    loop.set_debug(True)
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.pause_reading()
    protocol.transport.resume_reading()
    peer.close()
    lost(loop, protocol)
    said = [message.rsplit('> ', 1)[-1] for message in caplog.messages if 'Transport' in message]
    assert said[-3:] == ['pauses reading', 'resumes reading', 'received EOF']
    caplog.clear()  # The records have the transport.


def test_debug_mode_says_what_an_os_error_was(loop, connect, caplog):
    caplog.set_level(logging.DEBUG)
    protocol = Recorder()
    peer = connect(protocol)
    loop.set_debug(True)
    protocol.transport.write(b'unread')
    peer.close()
    lost(loop, protocol)
    record = next(record for record in caplog.records if 'Fatal read error on socket transport' in record.getMessage())
    assert record.exc_info[0] is ConnectionResetError
    del record
    caplog.clear()


def test_a_forgotten_transport_closes_its_socket_and_says_so(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.pause_reading()
    seen = weakref.ref(protocol.transport)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        protocol = None
        gc.collect()
    assert seen() is None
    assert ['unclosed transport' in str(warning.message) for warning in caught
            if warning.category is ResourceWarning and 'transport' in str(warning.message)] == [True]
    assert peer.recv(1) == b''


def test_a_closed_transport_is_freed(loop, connect):
    protocol = Recorder()
    connect(protocol)
    protocol.transport.cycle = protocol
    protocol.transport.close()
    lost(loop, protocol)
    turn(loop, 2)
    seen = weakref.ref(protocol.transport)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        protocol = None
        gc.collect()
    assert seen() is None


def test_a_loop_is_closed_with_an_open_transport(loop_type):
    loop = loop_type()
    protocol = Recorder()
    end, peer = socket.socketpair()
    with peer:
        loop.run_until_complete(loop.create_connection(lambda: protocol, sock=end))
        loop.close()
        transport = protocol.transport
        assert '_S' in repr(transport)
        with pytest.raises(RuntimeError, match='Event loop is closed'):
            transport.close()
        transport.write(b'may be sent or not')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            del protocol, transport
            gc.collect()
        peer.recv(100)


def test_a_thousand_connections(loop, tmp_path):
    async def main():
        async def echo(reader, writer):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()

        async def ask(number):
            reader, writer = await asyncio.open_unix_connection(tmp_path / 'socket')
            for turn in range(3):
                message = b'%d of %d' % (turn, number)
                writer.write(message)
                assert await reader.readexactly(len(message)) == message
            writer.close()
            await writer.wait_closed()
        async with await asyncio.start_unix_server(echo, tmp_path / 'socket', backlog=1000):
            for first in range(0, 1000, 250):
                await asyncio.gather(*map(ask, range(first, first + 250)))
    loop.run_until_complete(main())
    turn(loop, 3)
