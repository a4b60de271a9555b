"""Datagram transports, seen by their protocols. asyncio's are the reference."""
import asyncio
import logging
import os
import socket
import weakref

import pytest
import uwsgi_tornado

FAMILIES = {socket.AF_INET: '127.0.0.1', socket.AF_INET6: '::1'}


class Recorder(asyncio.DatagramProtocol):
    def __init__(self, act=lambda transport: None):
        self.received, self.errors, self.act = [], [], act
        self.lost = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.received.append((data, address))
        self.act(self.transport)

    def error_received(self, error):
        self.errors.append(error)

    def connection_lost(self, error):
        self.lost.set()


@pytest.fixture
def endpoint(loop, until):
    """endpoint(...) makes one of 127.0.0.1, or of what it is given, and gives its protocol."""
    made = []

    def make(*act, family=socket.AF_INET, **options):
        if not {'sock', 'remote_addr'} & set(options):
            options['local_addr'] = (FAMILIES[family], 0)
        _, protocol = loop.run_until_complete(loop.create_datagram_endpoint(lambda: Recorder(*act), **options))
        made.append(protocol)
        return protocol
    yield make
    for protocol in made:
        protocol.transport.close()
        until(protocol.lost.is_set)


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def peer(family):
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.bind((FAMILIES[family], 0))
        peer.settimeout(10)
        yield peer


def address_of(protocol):
    return protocol.transport.get_extra_info('sockname')


# --- To and fro --------------------------------------------------------------------------------

def test_datagrams_come_and_go(loop, endpoint, family, peer, until):
    protocol = endpoint(family=family)
    for data in (b'x', b'y' * 1000, os.urandom(65_507)):
        peer.sendto(data, address_of(protocol))
        until(lambda: protocol.received)
        assert protocol.received == [(data, peer.getsockname())]
        (received, sender), = protocol.received
        assert type(received) is bytes and type(sender) is tuple
        protocol.transport.sendto(received, sender)
        assert peer.recvfrom(100_000) == (data, address_of(protocol))
        protocol.received.clear()


def test_an_empty_datagram_comes(loop, endpoint, family, peer, until):
    protocol = endpoint(family=family)
    peer.sendto(b'', address_of(protocol))
    until(lambda: protocol.received)
    assert protocol.received == [(b'', peer.getsockname())]


def test_a_connected_endpoint(loop, endpoint, family, peer, until):
    protocol = endpoint(remote_addr=peer.getsockname()[:2])
    protocol.transport.sendto(b'hello')
    data, address = peer.recvfrom(100)
    assert (data, address[:2]) == (b'hello', address_of(protocol)[:2])
    protocol.transport.sendto(b'again', peer.getsockname()[:2] if family == socket.AF_INET else None)
    assert peer.recv(100) == b'again'
    with pytest.raises(ValueError, match='Invalid address: must be None or'):
        protocol.transport.sendto(b'data', ('127.0.0.2', 1))
    peer.sendto(b'back', address)
    until(lambda: protocol.received)
    assert protocol.received == [(b'back', peer.getsockname())]


@pytest.mark.parametrize('make', (bytes, bytearray, memoryview))
def test_kinds_of_data(endpoint, family, peer, make):
    transport = endpoint(family=family).transport
    transport.sendto(make(b'data'), peer.getsockname())
    assert peer.recv(100) == b'data'
    transport.sendto(make(b'named'), addr=peer.getsockname())
    assert peer.recv(100) == b'named'
    transport.sendto(data=make(b'both'), addr=peer.getsockname()[:2])
    assert peer.recv(100) == b'both'
    assert transport.get_write_buffer_size() == 0


def test_what_cannot_be_sent(loop, endpoint):
    protocol = endpoint()
    address = address_of(protocol)
    for data in ('text', None, 1, [b'x']):
        with pytest.raises(TypeError):
            protocol.transport.sendto(data, address)
    for wrong in ((), (b'x', address, 1)):
        with pytest.raises(TypeError):
            protocol.transport.sendto(*wrong)
    protocol.transport.sendto(b'x' * 70_000, address)
    assert [str(error) for error in protocol.errors] == ['[Errno 90] Message too long']
    assert not protocol.transport.is_closing()


@pytest.mark.parametrize('address', ('text', (1, 2, 3), ('127.0.0.1', 'port'), ('127.0.0.1', 70000), ('127.0.0.1', -1), (None, 1), 1))
def test_a_wrong_address_is_fatal(loop, endpoint, errors, address, until):
    protocol = endpoint()
    protocol.transport.sendto(b'x', address)
    until(protocol.lost.is_set)
    assert [told['message'] for told in errors] == ['Fatal write error on datagram transport']
    errors.clear()


def test_a_name_is_resolved(endpoint):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(('127.0.0.1', 0))
        peer.settimeout(10)
        endpoint().transport.sendto(b'data', ('localhost', peer.getsockname()[1]))
        assert peer.recv(100) == b'data'


def test_nobody_listens(loop, endpoint, family, until):
    with socket.socket(family, socket.SOCK_DGRAM) as gone:
        gone.bind((FAMILIES[family], 0))
        address = gone.getsockname()[:2]
    protocol = endpoint(remote_addr=address)
    protocol.transport.sendto(b'data')
    until(lambda: protocol.errors)
    protocol.transport.sendto(b'data')
    protocol.transport.sendto(b'data')  # Finds the error of the one before.
    assert all(type(error) is ConnectionRefusedError for error in protocol.errors) and len(protocol.errors) == 2
    assert not protocol.transport.is_closing()


# --- Many at once ------------------------------------------------------------------------------

def test_all_come_in_their_order(loop, endpoint, family, peer, until):
    protocol = endpoint(family=family)
    sent = [b'%d' % number for number in range(50)]
    for data in sent:
        peer.sendto(data, address_of(protocol))
    until(lambda: len(protocol.received) == 50)
    assert [data for data, _ in protocol.received] == sent


@pytest.mark.parametrize('end', ('close', 'abort'))
def test_none_comes_after_the_end(loop, endpoint, family, peer, end, until):
    protocol = endpoint(lambda transport: getattr(transport, end)(), family=family)
    for _ in range(5):
        peer.sendto(b'data', address_of(protocol))
    until(protocol.lost.is_set)
    assert len(protocol.received) == 1


def test_none_comes_after_the_loop_was_stopped(loop, endpoint, family, peer):
    protocol = endpoint(lambda transport: loop.stop(), family=family)
    for _ in range(5):
        peer.sendto(b'data', address_of(protocol))
    for count in range(1, 6):
        loop.run_forever()
        assert len(protocol.received) == count


def test_a_protocol_that_raises_gets_the_next_ones(loop, endpoint, errors, family, peer, until):
    error = LookupError('of the protocol')

    def act(transport):
        raise error
    protocol = endpoint(act, family=family)
    for _ in range(3):
        peer.sendto(b'data', address_of(protocol))
    until(lambda: len(protocol.received) == 3 and len(errors) == 3)
    assert all(told['exception'] is error for told in errors) and not protocol.transport.is_closing()
    errors.clear()
    error.__traceback__ = None


@pytest.mark.parametrize('exit', (SystemExit, KeyboardInterrupt))
def test_an_exit_ends_the_run(loop, endpoint, errors, family, peer, exit, until):
    def act(transport):
        protocol.act = lambda transport: None
        raise exit
    protocol = endpoint(act, family=family)
    peer.sendto(b'data', address_of(protocol))
    with pytest.raises(exit):
        until(lambda: False)
    assert not errors and not protocol.transport.is_closing()


def test_the_protocol_is_changed_between_two(loop, endpoint, family, peer, until):
    def act(transport):
        latter.connection_made(transport)
        transport.set_protocol(latter)
    latter = Recorder()
    former = endpoint(act, family=family)
    for _ in range(3):
        peer.sendto(b'data', address_of(former))
    until(lambda: len(latter.received) == 2)
    assert len(former.received) == 1
    former.transport.set_protocol(former)


def test_others_have_their_turn(loop, endpoint, family, peer, until):
    turns = []
    protocol = endpoint(lambda transport: turns.append('data'), family=family)
    for _ in range(50):
        peer.sendto(b'data', address_of(protocol))

    def turn():
        turns.append('turn')
        if len(protocol.received) < 50:
            loop.call_soon(turn)
    loop.call_soon(turn)
    until(lambda: len(protocol.received) == 50)
    longest = max(len(row) for row in ''.join(name[0] for name in turns).split('t'))
    assert longest <= 16


# --- The transport -----------------------------------------------------------------------------

def test_how_much_of_a_datagram_comes(loop, endpoint, family, peer, until):
    protocol = endpoint(family=family)
    protocol.transport.max_size = 3
    peer.sendto(b'datagram', address_of(protocol))
    until(lambda: protocol.received)
    assert protocol.received[0][0] == b'dat'


def test_after_the_end_nothing_is_sent(loop, endpoint, peer, family, caplog):
    protocol = endpoint(remote_addr=peer.getsockname()[:2])
    protocol.transport.abort()
    caplog.set_level(logging.WARNING)
    for _ in range(7):
        protocol.transport.sendto(b'data')
    assert caplog.messages == ['socket.send() raised exception.'] * len(caplog.messages) and caplog.messages
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(100)


def test_unix_datagrams(loop, endpoint, tmp_path, until):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        peer.bind(str(tmp_path / 'peer'))
        ours.bind(str(tmp_path / 'ours'))
        ours.setblocking(False)
        protocol = endpoint(sock=ours)
        protocol.transport.sendto(b'hello', str(tmp_path / 'peer'))
        assert peer.recvfrom(100) == (b'hello', str(tmp_path / 'ours'))
        peer.sendto(b'back', str(tmp_path / 'ours'))
        until(lambda: protocol.received)
        assert protocol.received == [(b'back', str(tmp_path / 'peer'))]


def test_methods_of_another_kind_of_socket_are_called(loop, endpoint, peer, family, until):
    class Counting(socket.socket):
        sent = received = 0

        def sendto(self, data, *more):
            self.sent += 1
            return super().sendto(data, *more)

        def recvfrom(self, *size):
            self.received += 1
            return super().recvfrom(*size)
    counting = Counting(family, socket.SOCK_DGRAM)
    counting.bind((FAMILIES[family], 0))
    counting.setblocking(False)
    protocol = endpoint(sock=counting)
    protocol.transport.sendto(b'hello', peer.getsockname())
    peer.sendto(b'back', counting.getsockname())
    until(lambda: protocol.received)
    assert counting.sent == 1 and counting.received >= 1


def test_a_transport_knows_its_socket(loop, endpoint, family, loop_type):
    protocol = endpoint(family=family)
    transport = protocol.transport
    assert weakref.ref(transport)() is transport
    assert transport.get_extra_info('socket').family == family
    assert 'DatagramTransport fd=' in repr(transport) and 'read=polling' in repr(transport)
    assert type(transport).__module__ == ('uwsgi_tornado' if loop_type is uwsgi_tornado.EventLoop else 'asyncio.selector_events')


def test_the_socket_is_closed_and_its_number_used_again(loop, endpoint, errors, until):
    """While datagrams wait: those of another socket are not this protocol's."""
    sock, other = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    for each in (sock, other):
        each.bind(('127.0.0.1', 0))
    sock.setblocking(False)
    number = sock.fileno()

    def act(transport):
        sock.close()
        os.dup2(other.fileno(), number)
    protocol = endpoint(act, sock=sock)
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.sendto(b"other's", other.getsockname())
        for data in (b'first', b'second'):
            peer.sendto(data, sock.getsockname())
    until(lambda: protocol.received)
    assert [data for data, _ in protocol.received] == [b'first']
    os.set_blocking(other.fileno(), False)
    assert other.recv(100) == b"other's"
    os.close(number)
    other.close()
    protocol.transport.abort()
    until(protocol.lost.is_set)
    errors.clear()
AUDITED = '''
import socket, sys
seen = []
sys.addaudithook(lambda event, args: event == 'socket.sendto' and seen.append(args[1]))
async def main():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ('127.0.0.1', 0))
    transport.sendto(b'data', ('127.0.0.1', 9))
    transport.close()
    await asyncio.sleep(0)
loop = make_loop()
loop.run_until_complete(main())
loop.close()
print(seen)
'''


def test_audit_hooks_are_told(run_python):
    done = run_python(AUDITED)
    assert done.stdout.strip() == "[('127.0.0.1', 9)]", done.stderr
