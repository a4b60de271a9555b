"""TLS over the loop's transports, seen by protocols and by a peer that makes its records itself. asyncio's loop is the reference."""
import asyncio
import asyncio.sslproto
import contextlib
import gc
import logging
import os
import random
import socket
import ssl
import sys
import weakref
from unittest import mock

import pytest
import uwsgi_tornado
from recorder import BufferedRecorder, Recorder, lost, raising, turn, until

DATA = os.urandom(1_500_000)
OLD = sys.version_info < (3, 11)  # asyncio's TLS was another one.


class Buffered(BufferedRecorder):
    def __init__(self, size=50_000, **act):
        super().__init__(memoryview(bytearray(size)), **act)

    def get_buffer(self, size_hint):
        assert size_hint >= 0
        return super().get_buffer(size_hint)


class Peer:
    """The other end of a connection."""

    def __init__(self, loop, sock, context, **options):
        self.loop, self.sock, self.ended = loop, sock, False
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, **options)
        sock.setblocking(False)

    def records(self, *pieces):
        for piece in pieces:
            assert self.tls.write(piece) == len(piece)
        return self.outgoing.read()

    def goodbye(self):
        """A close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    def send_bytes(self, data):
        left = memoryview(data)

        def send_all():
            nonlocal left
            with contextlib.suppress(BlockingIOError):
                while left:
                    left = left[self.sock.send(left):]
            return not left
        until(self.loop, send_all)

    def send(self, *pieces):
        self.send_bytes(self.records(*pieces))

    def hear(self):
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        if data:
            self.incoming.write(data)
        elif not self.ended:
            self.ended = True
            self.incoming.write_eof()

    def shake(self):
        """A step of the handshake."""
        self.hear()
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        self.send_bytes(self.outgoing.read())

    def read(self):
        """What has come by now: b'' once the other side has closed."""
        self.hear()
        try:
            return self.tls.read(1 << 18)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:  # Both sides have.
            return b''

    def receive(self, size):
        received = b''

        def read_all():
            nonlocal received
            while more := self.read():
                received += more
            assert more is None or len(received) >= size, 'the other side has closed'
            return len(received) >= size
        until(self.loop, read_all)
        return received

    def closed(self):
        """Waits until the other side has closed."""
        until(self.loop, lambda: self.read() == b'')


def connected(loop, protocol, side, server_tls, client_tls):
    """(a connection's transport, the peer); `side` is what the loop has of it."""
    end, other = socket.socketpair()
    if side == 'server':
        peer = Peer(loop, other, client_tls, server_hostname='localhost')
        making = loop.connect_accepted_socket(lambda: protocol, end, ssl=server_tls)
    else:
        peer = Peer(loop, other, server_tls, server_side=True)
        making = loop.create_connection(lambda: protocol, sock=end, ssl=client_tls, server_hostname='localhost')
    task = loop.create_task(making)
    until(loop, lambda: (peer.shake(), task.done())[1])
    return task.result()[0], peer


@pytest.fixture(params=[(side, version) for side in ('server', 'client') for version in ('TLSv1_2', 'TLSv1_3')], ids='-'.join)
def connect(request, loop, server_tls, client_tls):
    """connect(protocol) gives the peer of its connection."""
    side, version = request.param
    for context in (server_tls, client_tls):
        context.maximum_version = context.minimum_version = ssl.TLSVersion[version]
    yield from connecting(loop, side, server_tls, client_tls)


@pytest.fixture
def connect_one(loop, server_tls, client_tls):
    """The same for what does not depend on the version and the side."""
    yield from connecting(loop, 'server', server_tls, client_tls)


def connecting(loop, side, server_tls, client_tls):
    made = []

    def connect(protocol, server_tls=server_tls, client_tls=client_tls):
        made.append(connected(loop, protocol, side, server_tls, client_tls))
        return made[-1][1]
    yield connect
    for transport, peer in made:
        transport.abort()
        peer.sock.close()
    turn(loop, 5)


def received(loop, protocol, data):
    until(loop, lambda: len(protocol.received) >= len(data))
    assert protocol.received == data


def protocol_of(transport):
    return transport._ssl_protocol


# --- What the loop uses -------------------------------------------------------------------------

def kind(transport):
    """Whether the frequent calls are in C++."""
    return {'uwsgi_tornado': 'ours', 'asyncio.sslproto': 'asyncio'}[type(transport).__module__]


@pytest.fixture
def expected(loop):
    """The kind that a loop uses if nothing is unusual."""
    return 'ours' if isinstance(loop, uwsgi_tornado.EventLoop) and not OLD else 'asyncio'


def test_connections_of_both_sides_are_in_cpp(loop, connect, expected):
    protocol = Recorder()
    connect(protocol)
    assert kind(protocol.transport) == expected
    assert isinstance(protocol.transport, asyncio.sslproto._SSLProtocolTransport)
    assert isinstance(protocol_of(protocol.transport), asyncio.sslproto.SSLProtocol)


def test_debug_mode_is_asyncios(loop, connect_one):
    loop.set_debug(True)
    loop.slow_callback_duration = 100
    protocol = Recorder()
    peer = connect_one(protocol)
    assert kind(protocol.transport) == 'asyncio'
    peer.send(b'debugged')
    received(loop, protocol, b'debugged')


def test_debug_mode_can_begin_later(loop, connect_one):
    protocol = Recorder()
    peer = connect_one(protocol)
    loop.set_debug(True)
    loop.slow_callback_duration = 100
    peer.send(b'debugged')
    received(loop, protocol, b'debugged')
    protocol.transport.write(b'answered')
    assert peer.receive(8) == b'answered'


@pytest.mark.skipif(OLD, reason='asyncio had another class')
@pytest.mark.parametrize('name', ['_do_read', '_do_read__copied', '_process_outgoing', '_control_app_writing', 'buffer_updated'])
def test_a_method_that_was_replaced_is_called(loop, connect_one, name):
    calls = []
    theirs = getattr(asyncio.sslproto.SSLProtocol, name)

    def replaced(self, *args):
        calls.append(name)
        return theirs(self, *args)
    with mock.patch.object(asyncio.sslproto.SSLProtocol, name, replaced):
        protocol = Recorder()
        peer = connect_one(protocol)
        peer.send(b'x')
        received(loop, protocol, b'x')
    assert calls and kind(protocol.transport) == 'asyncio'


@pytest.mark.parametrize('name', ['read', 'write'])
def test_a_method_of_sslobject_that_was_replaced_is_called(loop, connect_one, name):
    calls = []
    theirs = getattr(ssl.SSLObject, name)

    def replaced(self, *args):
        calls.append(args)
        return theirs(self, *args)
    with mock.patch.object(ssl.SSLObject, name, replaced):
        protocol = Recorder(data=lambda transport: transport.write(b'y'))
        peer = connect_one(protocol)
        with mock.patch.object(ssl.SSLObject, name, theirs):
            data = peer.records(b'x')
        calls.clear()
        peer.send_bytes(data)
        received(loop, protocol, b'x')
        assert calls


def test_a_class_that_replaced_asyncios_is_used(loop, connect_one):
    class Own(asyncio.sslproto.SSLProtocol):
        pass
    with mock.patch.object(asyncio.sslproto, 'SSLProtocol', Own):
        protocol = Recorder()
        peer = connect_one(protocol)
        assert type(protocol_of(protocol.transport)) is Own
        peer.send(b'x')
        received(loop, protocol, b'x')


def test_an_sslobject_of_another_class_is_called(loop, connect_one, server_tls, expected):
    calls = []

    class Own(ssl.SSLObject):
        def read(self, *args):
            calls.append('read')
            return super().read(*args)

        def write(self, data):
            calls.append('write')
            return super().write(data)
    server_tls.sslobject_class = Own
    protocol = Recorder(data=lambda transport: transport.write(b'y'))
    peer = connect_one(protocol)
    assert kind(protocol.transport) == expected
    calls.clear()
    peer.send(b'x')
    assert peer.receive(1) == b'y'
    assert 'read' in calls and 'write' in calls


def test_a_connection_has_no_buffer_that_it_does_not_use(loop, connect_one, expected):
    protocol = Recorder()
    connect_one(protocol)
    if not OLD:
        tls = protocol_of(protocol.transport)
        assert len(tls._ssl_buffer) == (0 if expected == 'ours' else tls.max_size)
        assert len(tls.get_buffer(-1)) == tls.max_size == 256 * 1024


# --- Reading --------------------------------------------------------------------------------------

@pytest.mark.parametrize('make', [Recorder, Buffered])
def test_large_data_both_ways(loop, connect, make):
    protocol = make()
    peer = connect(protocol)
    peer.send(DATA)
    received(loop, protocol, DATA)
    protocol.transport.write(DATA)
    assert peer.receive(len(DATA)) == DATA
    assert protocol.names == ['made', 'data']


@pytest.mark.parametrize('make', [Recorder, Buffered])
def test_many_records_of_one_segment_come_together(loop, connect, make):
    protocol = make()
    peer = connect(protocol)
    pieces = [bytes([number]) * (number + 1) for number in range(100)]
    peer.send(*pieces)
    received(loop, protocol, b''.join(pieces))
    assert [what for what, *_ in protocol.told] == ['made', 'data']


@pytest.mark.parametrize('make', [Recorder, Buffered])
def test_records_come_in_pieces(loop, connect, make):
    """Of each size, and the end of one with the start of the next."""
    protocol = make()
    peer = connect(protocol)
    pieces = [b'a' * 300, b'b' * 10, b'c' * 500]
    whole = peer.records(*pieces)
    for start in range(0, len(whole), 7):
        peer.send_bytes(whole[start:start + 7])
        turn(loop, 2)
    received(loop, protocol, b''.join(pieces))


@pytest.mark.parametrize('make', [Recorder, Buffered])
@pytest.mark.parametrize('missing', [1, 100, 16000])
def test_a_large_record_whose_end_comes_later(loop, connect_one, make, missing):
    """The rest that comes has fewer bytes than the record."""
    protocol = make()
    peer = connect_one(protocol)
    whole = peer.records(DATA[:16384])
    peer.send_bytes(whole[:-missing])
    turn(loop, 3)
    assert protocol.received == b''
    peer.send_bytes(whole[-missing:])
    received(loop, protocol, DATA[:16384])
    assert [what for what, *_ in protocol.told] == ['made', 'data']


@pytest.mark.parametrize('make', [Recorder, Buffered, lambda: Buffered(1000)], ids=['Recorder', 'Buffered', 'small'])
@pytest.mark.parametrize('seed', range(3))
def test_what_is_complete_is_received_before_more_comes(loop, connect, make, seed):
    """Whatever the sizes of records and segments are: nobody waits for what OpenSSL has already."""
    protocol, chosen = make(), random.Random(seed)
    peer = connect(protocol)
    sent, ends, stream = b'', [], b''
    for _ in range(100):
        piece = DATA[:chosen.choice((1, 10, 999, 5000, 16384))]
        sent += piece
        stream += peer.records(piece)
        ends.append((len(stream), len(sent)))
    start = 0
    while start < len(stream):
        end = start + chosen.choice((1, 5, 21, 1000, 16000, 50_000))
        peer.send_bytes(stream[start:end])
        complete = max([size for at, size in ends if at <= end], default=0)
        until(loop, lambda: len(protocol.received) >= complete)
        start = end
    assert protocol.received == sent


@pytest.mark.parametrize('size', [1, 100, 999, 1000, 1001])
def test_a_buffer_smaller_than_the_data(loop, connect_one, size):
    protocol = Buffered(size)
    peer = connect_one(protocol)
    peer.send(DATA[:1000], DATA[1000:1800])
    received(loop, protocol, DATA[:1800])


def test_a_buffer_is_asked_for_with_the_number_of_bytes_that_have_come(loop, connect_one):
    hints = []

    class Hinted(Buffered):
        def get_buffer(self, size_hint):
            hints.append(size_hint)
            return super().get_buffer(size_hint)
    protocol = Hinted()
    peer = connect_one(protocol)
    hints.clear()
    whole = peer.records(b'x' * 1000)
    peer.send_bytes(whole)
    received(loop, protocol, b'x' * 1000)
    assert hints[0] == len(whole)


def test_a_bytearray_is_filled_from_the_first_record(loop, connect_one):
    """Where more has come than one record asyncio writes the second one to a copy."""
    class OfByteArray(Buffered):
        def __init__(self):
            super().__init__()
            self.room = bytearray(5000)
    protocol = OfByteArray()
    peer = connect_one(protocol)
    peer.send(b'abc')
    received(loop, protocol, b'abc')


@pytest.mark.parametrize('make', [Recorder, Buffered])
def test_what_came_with_the_end_of_the_handshake_is_received(loop, server_tls, client_tls, make):
    protocol = make()
    end, other = socket.socketpair()
    peer = Peer(loop, other, client_tls, server_hostname='localhost')
    task = loop.create_task(loop.connect_accepted_socket(lambda: protocol, end, ssl=server_tls))
    peer.shake()
    until(loop, lambda: (peer.hear(), peer.incoming.pending)[1])
    peer.tls.do_handshake()
    peer.send_bytes(peer.outgoing.read() + peer.records(b'early', b'words'))
    received(loop, protocol, b'earlywords')
    until(loop, task.done)
    task.result()
    protocol.transport.abort()
    lost(loop, protocol)
    other.close()


@pytest.mark.parametrize('make', [Recorder, Buffered])
def test_paused_in_the_middle(loop, connect, make):
    protocol = make(data=lambda transport: transport.pause_reading())
    peer = connect(protocol)
    peer.send(b'first')
    received(loop, protocol, b'first')
    assert not protocol.transport.is_reading()
    peer.send(b'second')
    turn(loop, 3)
    assert protocol.received == b'first'
    del protocol.act['data']
    protocol.transport.resume_reading()
    received(loop, protocol, b'firstsecond')


def test_a_paused_connection_stops_the_peer(loop, connect_one):
    protocol = Recorder()
    peer = connect_one(protocol)
    protocol.transport.pause_reading()
    protocol.transport.set_read_buffer_limits(high=10_000, low=2000)
    whole = peer.records(DATA)
    sent = 0
    for _ in range(200):
        turn(loop)
        try:
            sent += peer.sock.send(whole[sent:])
        except BlockingIOError:
            pass
    assert sent < len(whole) and protocol.received == b''
    assert protocol.transport.get_read_buffer_size() >= 10_000
    protocol.transport.resume_reading()
    peer.send_bytes(whole[sent:])
    received(loop, protocol, DATA)


# --- Writing --------------------------------------------------------------------------------------

@pytest.mark.parametrize('data', [
    b'abc', bytearray(b'abc'), memoryview(b'abc'), memoryview(b'-abc-')[1:-1], memoryview(bytearray(b'abcd')).cast('H'),
    memoryview(b'abcd').cast('B', (2, 2))], ids=['bytes', 'bytearray', 'view', 'part', 'items', 'rows'])
def test_what_can_be_written(connect_one, data):
    protocol = Recorder()
    peer = connect_one(protocol)
    protocol.transport.write(data)
    protocol.transport.write(data=b'!')
    expected = bytes(data) + b'!'
    assert peer.receive(len(expected)) == expected


def test_a_view_with_gaps_ends_the_connection(loop, errors, connect_one):
    protocol = Recorder()
    connect_one(protocol)
    protocol.transport.write(memoryview(b'a-b-c')[::2])
    lost(loop, protocol)
    assert [type(told['exception']) for told in errors] == [BufferError]


@pytest.mark.parametrize('wrong', ['text', None, 5, [b'x']], ids=['text', 'none', 'number', 'list'])
def test_what_cannot_be_written(connect_one, wrong):
    protocol = Recorder()
    connect_one(protocol)
    with pytest.raises(TypeError, match=f'data: expecting a bytes-like instance, got {type(wrong).__name__}'):
        protocol.transport.write(wrong)
    with pytest.raises(TypeError):
        protocol.transport.write()


def test_nothing_is_written(loop, connect_one):
    protocol = Recorder()
    peer = connect_one(protocol)
    for nothing in (b'', bytearray(), memoryview(b'')):
        protocol.transport.write(nothing)
    protocol.transport.write(b'x')
    assert peer.receive(1) == b'x'


def test_the_caller_may_change_what_it_has_written(loop, connect_one):
    protocol = Recorder()
    peer = connect_one(protocol)
    data = bytearray(b'a' * 500_000)
    protocol.transport.write(data)
    data[:] = b'b' * 500_000
    assert peer.receive(500_000) == b'a' * 500_000


def test_pieces_and_writes_keep_their_order(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.write(b'1')
    protocol.transport.writelines([b'2', bytearray(b'3'), b'4'])
    protocol.transport.write(b'5')
    assert peer.receive(5) == b'12345'


def sizes_of_records(data):
    """Of application data, the encryption's own bytes included."""
    sizes = []
    while data:
        size = int.from_bytes(data[3:5], 'big')
        sizes += [size] if data[0] == 23 else []
        data = data[5 + size:]
    return sizes


@pytest.fixture
def messages_of(loop, server_tls, client_tls):
    """messages_of(act) gives what each system call sent that act(transport), a callback, made, and all of it decrypted."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ends[0].setblocking(False)
    peer, protocol, made = Peer(loop, ends[1], client_tls, server_hostname='localhost'), Recorder(), loop.create_future()
    transport = loop._make_ssl_transport(ends[0], protocol, server_tls, made, server_side=True)
    until(loop, lambda: (peer.shake(), made.done())[1])
    turn(loop)
    assert peer.read() is None  # Tickets of the session.

    def messages_of(act):
        loop.call_soon(act, transport)
        turn(loop)
        messages = []
        with contextlib.suppress(BlockingIOError):
            while True:
                messages.append(ends[1].recv(1 << 18))
        peer.incoming.write(b''.join(messages))
        received = b''
        with contextlib.suppress(ssl.SSLWantReadError):
            while True:
                received += peer.tls.read(1 << 18)
        return messages, received
    yield messages_of
    transport.abort()
    ends[1].close()
    turn(loop, 5)


def test_records_of_one_callback_go_together(messages_of, expected):
    def write(transport):
        transport.write(b'head')
        transport.write(b'body')
        transport.writelines([b'ta', b'il'])
    messages, received = messages_of(write)
    assert received == b'headbodytail'
    assert len(messages) == (1 if expected == 'ours' else 3)


@pytest.mark.parametrize('kind', (list, tuple))
def test_small_pieces_share_a_record(messages_of, expected, kind):
    sizes = [4, 10_000, 6_380, 16_384, 20_000, 1, 1, 1]
    pieces = [bytes([65 + at]) * size for at, size in enumerate(sizes)]
    pieces[1] = bytearray(pieces[1])
    pieces[2] = memoryview(pieces[2])
    messages, received = messages_of(lambda transport: transport.writelines(kind(pieces)))
    assert received == b''.join(pieces)
    records = sizes_of_records(b''.join(messages))
    assert len(records) == (5 if expected == 'ours' else 9), records


def test_pieces_that_nobody_joins(messages_of):
    """An iterator, nothing, and items of two bytes."""
    def write(transport):
        transport.writelines(iter([b'1', b'2']))
        transport.writelines([b'3', memoryview(bytearray(b'4455')).cast('H')])
        transport.writelines([])
    assert messages_of(write)[1] == b'1234455'


def test_pieces_that_cannot_be_written(loop, connect_one, errors):
    protocol = Recorder()
    connect_one(protocol)
    with pytest.raises(TypeError):
        protocol.transport.writelines([b'1', 2])
    with pytest.raises(TypeError):
        protocol.transport.writelines(5)


def test_a_view_that_was_released(loop, connect_one, errors):
    protocol = Recorder()
    peer = connect_one(protocol)
    released = memoryview(bytearray(b'gone'))
    released.release()
    with pytest.raises(ValueError):
        protocol.transport.write(released)
    with pytest.raises(ValueError):
        protocol.transport.writelines([released])
    assert not errors and not protocol.transport.is_closing()


def test_pieces_that_openssl_does_not_take_are_kept(loop, connect_one, expected):
    protocol = Recorder()
    peer = connect_one(protocol)
    protocol.transport._test__append_write_backlog(b'1')
    protocol.transport.writelines([b'2', b'3'])
    assert peer.receive(3) == b'123'


def test_what_openssl_did_not_take_yet_comes_first(connect_one):
    protocol = Recorder()
    peer = connect_one(protocol)
    protocol.transport._test__append_write_backlog(b'1')
    protocol.transport.write(b'2')
    assert peer.receive(2) == b'12'


def test_writing_is_paused_and_resumed(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    transport = protocol.transport
    transport.set_write_buffer_limits(high=50_000, low=10_000)
    transport.write(DATA)
    assert protocol.names == ['made']  # What OpenSSL has given to the socket's transport is not counted.
    transport.write(DATA)
    assert protocol.names == ['made', 'pause'] and transport.get_write_buffer_size() >= len(DATA)
    assert peer.receive(2 * len(DATA)) == 2 * DATA
    until(loop, lambda: protocol.names == ['made', 'pause', 'resume'])
    assert transport.get_write_buffer_size() == 0


def test_a_high_water_of_nothing_pauses_each_time(loop, connect_one):
    protocol = Recorder()
    peer = connect_one(protocol)
    protocol.transport.set_write_buffer_limits(high=0)
    protocol.transport.write(b'a')
    assert peer.receive(1) == b'a'
    protocol.transport.write(b'b')
    assert peer.receive(1) == b'b'
    assert protocol.names[:3] == ['made', 'pause', 'resume']


def test_an_error_of_pause_writing_is_told(loop, errors, connect_one):
    error = ZeroDivisionError()
    protocol = Recorder(pause=raising(error))
    peer = connect_one(protocol)
    protocol.transport.set_write_buffer_limits(high=1000)
    protocol.transport.write(DATA)
    protocol.transport.write(DATA)
    assert [(told['message'], told['exception']) for told in errors] == [('protocol.pause_writing() failed', error)]
    assert peer.receive(2 * len(DATA)) == 2 * DATA


def test_an_echo_in_data_received(loop, connect):
    class Echo(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(data)
    protocol = Echo()
    peer = connect(protocol)
    for size in (1, 1000, 16384, 16385, 100_000):
        peer.send(DATA[:size])
        assert peer.receive(size) == DATA[:size]


# --- The end --------------------------------------------------------------------------------------

@pytest.mark.parametrize('make', [Recorder, Buffered])
def test_a_goodbye_with_data(loop, connect, make):
    protocol = make()
    peer = connect(protocol)
    peer.send_bytes(peer.records(b'one', b'two') + peer.goodbye())
    lost(loop, protocol)
    assert protocol.received == b'onetwo' and protocol.told == [('made',), ('data',), ('eof',), ('lost', None)]
    assert protocol.transport.is_closing()


@pytest.mark.parametrize('make', [Recorder, Buffered])
def test_a_goodbye_alone(loop, connect, make):
    protocol = make()
    peer = connect(protocol)
    peer.send_bytes(peer.goodbye())
    peer.closed()
    lost(loop, protocol)
    assert protocol.told == [('made',), ('eof',), ('lost', None)]


@pytest.mark.parametrize('make', [Recorder, Buffered])
def test_the_peer_ends_without_a_goodbye(loop, errors, connect, make):
    protocol = make()
    peer = connect(protocol)
    peer.send(b'last')
    peer.sock.close()
    lost(loop, protocol)
    assert protocol.received == b'last' and protocol.names[:2] == ['made', 'data'] and protocol.names[-1] == 'lost'


@pytest.mark.parametrize('make', [Recorder, Buffered])
@pytest.mark.parametrize('how', ['close', 'abort'])
def test_ended_by_its_protocol_as_data_comes(loop, errors, connect, make, how):
    protocol = make(data=lambda transport: getattr(transport, how)())
    peer = connect(protocol)
    peer.send(b'one')
    if how == 'close':
        peer.closed()
        peer.send_bytes(peer.goodbye())
    lost(loop, protocol)
    assert protocol.received == b'one' and protocol.names[:2] == ['made', 'data'] and protocol.told[-1] == ('lost', None)
    assert not errors


def test_closed_after_a_write(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.write(b'bye')
    protocol.transport.close()
    assert peer.receive(3) == b'bye'
    peer.closed()
    peer.sock.close()
    lost(loop, protocol)


def test_closed_with_much_to_send(loop, connect):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.write(DATA)
    protocol.transport.write(DATA)
    protocol.transport.close()
    assert peer.receive(2 * len(DATA)) == 2 * DATA
    peer.closed()
    peer.sock.close()
    lost(loop, protocol)


def test_writes_after_the_end_are_counted(loop, caplog, connect_one):
    protocol = Recorder()
    connect_one(protocol)
    protocol.transport.abort()
    lost(loop, protocol)
    with caplog.at_level(logging.WARNING, 'asyncio'):
        for _ in range(6):
            protocol.transport.write(b'x')
    assert [record.message for record in caplog.records][-1:] == ['SSL connection is closed']


@pytest.mark.parametrize('make', [Recorder, Buffered])
def test_an_error_of_the_protocol(loop, errors, connect, make):
    error = ZeroDivisionError()
    protocol = make(data=raising(error))
    peer = connect(protocol)
    peer.send(b'one')
    lost(loop, protocol)
    assert protocol.told == [('made',), ('data',), ('lost', error)]
    assert [(told['message'], told['exception']) for told in errors] == [('Fatal error on SSL protocol', error)]
    assert errors[0]['protocol'] is not protocol


def test_an_error_as_a_buffer_is_asked_for(loop, errors, connect_one):
    error = ZeroDivisionError()
    protocol = Buffered()
    peer = connect_one(protocol)
    protocol.act['get_buffer'] = raising(error)
    peer.send(b'one')
    lost(loop, protocol)
    assert [(told['message'], told['exception']) for told in errors] == [('Fatal error on SSL protocol', error)]


@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize('make', [Recorder, Buffered])
def test_an_exit_ends_the_run(loop, connect_one, make, error):
    protocol = make(data=raising(error()))
    peer = connect_one(protocol)
    peer.send(b'one')
    with pytest.raises(error):
        until(loop, protocol.lost.is_set)
    del protocol.act['data']
    peer.send(b'two')
    received(loop, protocol, b'onetwo')


def test_a_cancelled_error_ends_the_connection(loop, errors, connect_one):
    error = asyncio.CancelledError()
    protocol = Recorder(data=raising(error))
    peer = connect_one(protocol)
    peer.send(b'one')
    lost(loop, protocol)
    assert protocol.told[-1] == ('lost', error)
    assert [told['message'] for told in errors] == ['Fatal error: protocol.buffer_updated() call failed.']


@pytest.mark.parametrize('make', [Recorder, Buffered])
def test_a_record_that_was_changed(loop, errors, connect, make):
    protocol = make()
    peer = connect(protocol)
    good, bad = peer.records(b'good'), bytearray(peer.records(b'bad'))
    bad[-1] ^= 1
    peer.send_bytes(good + bad)
    lost(loop, protocol)
    assert isinstance(protocol.told[-1][1], ssl.SSLError) and protocol.names[-1] == 'lost'
    assert protocol.told[1:-1] == ([] if make is Recorder else protocol.told[1:-1])


def test_a_connection_in_a_cycle_is_collected(loop, server_tls, client_tls):
    protocol = Recorder()
    transport, peer = connected(loop, protocol, 'server', server_tls, client_tls)
    transport.itself = transport
    left = [weakref.ref(object) for object in (transport, protocol_of(transport))]
    transport.abort()
    lost(loop, protocol)
    peer.sock.close()
    turn(loop, 3)
    del transport, protocol, peer
    gc.collect()
    assert [reference() for reference in left] == [None, None]


# --- Upgraded connections ---------------------------------------------------------------------------

@pytest.fixture(params=['server', 'client'])
def upgraded(request, loop, server_tls, client_tls):
    """upgraded(protocol) gives the peer of its connection after start_tls()."""
    made = []

    def upgrade(protocol, early=()):
        end, other = socket.socketpair()
        transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=end))
        if request.param == 'server':
            peer = Peer(loop, other, client_tls, server_hostname='localhost')
            starting = loop.start_tls(transport, protocol, server_tls, server_side=True)
        else:
            peer = Peer(loop, other, server_tls, server_side=True)
            starting = loop.start_tls(transport, protocol, client_tls, server_hostname='localhost')
        task = loop.create_task(starting)
        until(loop, lambda: (peer.shake(), task.done())[1])
        made.append((task.result(), peer))
        protocol.transport = task.result()
        return peer
    yield upgrade
    for transport, peer in made:
        transport.abort()
        peer.sock.close()
    turn(loop, 5)


@pytest.mark.parametrize('make', [Recorder, Buffered])
def test_an_upgraded_connection(loop, upgraded, expected, make):
    protocol = make()
    peer = upgraded(protocol)
    assert kind(protocol.transport) == expected
    peer.send(DATA)
    received(loop, protocol, DATA)
    protocol.transport.write(DATA)
    assert peer.receive(len(DATA)) == DATA
    peer.send_bytes(peer.goodbye())
    lost(loop, protocol)


def test_an_upgrade_refuses_what_it_cannot_upgrade(loop, server_tls):
    async def main():
        with pytest.raises(TypeError, match='sslcontext is expected to be an instance of ssl.SSLContext'):
            await loop.start_tls(None, None, None)
        with pytest.raises(TypeError, match='is not supported by start_tls'):
            await loop.start_tls(object(), None, server_tls)
    loop.run_until_complete(main())


def test_an_upgrade_that_fails_closes_the_connection(loop, server_tls):
    async def main():
        end, other = socket.socketpair()
        protocol = Recorder()
        transport, _ = await loop.create_connection(lambda: protocol, sock=end)
        other.sendall(b'this is not TLS')
        with pytest.raises(ssl.SSLError):
            await loop.start_tls(transport, protocol, server_tls, server_side=True)
        assert transport.is_closing()
        other.close()
        await asyncio.sleep(0)
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(main())


def test_tls_over_tls(loop, server_tls, client_tls, expected):
    """The outer protocol is called by another one, not by the transport of a socket."""
    async def serve(reader, writer):
        await writer.start_tls(server_tls)
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, '127.0.0.1', 0, ssl=server_tls)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection('127.0.0.1', port, ssl=client_tls, server_hostname='localhost')
        await writer.start_tls(client_tls, server_hostname='localhost')
        assert kind(writer.transport) == expected
        writer.write(DATA[:300_000])
        assert await reader.readexactly(300_000) == DATA[:300_000]
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
    if hasattr(asyncio.StreamWriter, 'start_tls'):
        loop.run_until_complete(asyncio.wait_for(main(), 60))


# --- Streams --------------------------------------------------------------------------------------

def stream_of(loop, limit=1 << 16, reader_type=asyncio.StreamReader):
    reader = reader_type(limit=limit, loop=loop)
    return reader, asyncio.StreamReaderProtocol(reader, loop=loop)


@pytest.mark.parametrize('limit', [100, 1 << 16])
def test_a_stream_has_all_that_is_sent(loop, connect, limit):
    reader, protocol = stream_of(loop, limit)
    peer = connect(protocol)
    task = loop.create_task(reader.readexactly(len(DATA)))
    peer.send(DATA)
    until(loop, task.done)
    assert task.result() == DATA


def test_a_stream_ends(loop, connect):
    reader, protocol = stream_of(loop)
    peer = connect(protocol)
    task = loop.create_task(reader.read())
    peer.send_bytes(peer.records(b'one\n', b'two') + peer.goodbye())
    until(loop, task.done)
    assert task.result() == b'one\ntwo'


def test_a_reader_of_another_class_is_called(loop, connect_one):
    class Own(asyncio.StreamReader):
        fed = b''

        def feed_data(self, data):
            self.fed += data
            super().feed_data(data)
    reader, protocol = stream_of(loop, reader_type=Own)
    peer = connect_one(protocol)
    task = loop.create_task(reader.readline())
    peer.send(b'line\n')
    until(loop, task.done)
    assert task.result() == reader.fed == b'line\n'


def test_a_reader_of_which_a_method_was_replaced_is_called(loop, connect_one):
    reader, protocol = stream_of(loop)
    peer = connect_one(protocol)
    with mock.patch.object(reader, 'feed_data', wraps=reader.feed_data) as feed:
        task = loop.create_task(reader.readline())
        peer.send(b'line\n')
        until(loop, task.done)
    feed.assert_called_once_with(b'line\n')
