"""uWSGI's websocket functions: what they do for one connection, for many, and from other fibers."""
import asyncio
import contextlib
import signal
import socket
import struct

import pytest
import websocket
import websockets

from clients import exactly, websocket_by_hand
from conftest import EMBEDDED, free_port, websocket_to
from health import closed_by_server

HTTP = [] if EMBEDDED else ['--plugin', 'http']
PING, PONG, CLOSE, TEXT = 0x89, 0x8a, 0x88, 0x81


@pytest.fixture
def start(server):
    return lambda *options, cores=60, **more: server('with_websockets.py', *options, cores=cores, **more)


def frame(first_byte, payload=b''):
    """A client's frame whose mask changes nothing."""
    size = len(payload)
    length = struct.pack('>B', 0x80 | size) if size < 126 else struct.pack('>BH', 0x80 | 126, size)
    return bytes([first_byte]) + length + bytes(4) + payload


@pytest.mark.smoke
@pytest.mark.parametrize('path', ['/echo', '/echo_nb'])
def test_messages_are_echoed(start, path):
    with websocket_to(start().port, path) as client:
        for size in (1, 125, 126, 65535, 65536, 900_000):
            client.send('x' * size)
            assert client.recv() == 'x' * size
        for number in range(200):
            client.send(str(number))
        assert [client.recv() for _ in range(200)] == [str(number) for number in range(200)]


def test_binary_and_empty_messages_are_told_apart_from_text(start):
    with websocket_to(start().port, '/echo') as client:
        for message in ('', b'', b'\xff\x00', 'text'):
            client.send(message, websocket.ABNF.OPCODE_BINARY if isinstance(message, bytes) else websocket.ABNF.OPCODE_TEXT)
            opcode, data = client.recv_data()
            assert (data.decode() if opcode == websocket.ABNF.OPCODE_TEXT else data) == message


@pytest.mark.parametrize('protocol', ['https-socket', 'http', 'https'])
def test_websocket_behind_tls_and_routers(start, tmp_path, certificate, protocol):
    port = free_port()
    address = ','.join([f'127.0.0.1:{port}', *(certificate if protocol.startswith('https') else ())])
    behind = [] if protocol == 'https-socket' else ['--master', '--http-websockets', '--http-to', str(tmp_path / 'behind'),
                                                    '--socket', str(tmp_path / 'behind')]
    running = start(*HTTP, f'--{protocol}', address, *behind)
    with websocket_to(port, '/echo', 'wss' if protocol.startswith('https') else 'ws') as client:
        for size in (1, 200_000, 3):
            client.send('x' * size)
            assert client.recv() == 'x' * size


def test_fifty_slow_conversations_hold_nobody_up(start):
    running = start(cores=75)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(websocket_to(running.port, '/held_echo')) for _ in range(50)]
        for client in clients:
            client.send('slow')
        results, _ = running.get_all(['/quick'] * 20)
        assert [r[2] for r in results] == [b'quick'] * 20
        running.get('/release')
        assert [client.recv() for client in clients] == ['slow'] * 50


async def idle_and_chatting(port, idle, chatting, messages):
    address = f'ws://127.0.0.1:{port}/echo'
    some = asyncio.Semaphore(50)  # The listen queue has 100 places.

    async def connected():
        async with some:
            return await websockets.connect(address, ping_interval=None, open_timeout=60)

    async def chat(client, name):
        for number in range(messages):
            await client.send(f'{name} {number}')
            assert await client.recv() == f'{name} {number}'

    quiet = await asyncio.gather(*(connected() for _ in range(idle)))
    loud = await asyncio.gather(*(connected() for _ in range(chatting)))
    await asyncio.gather(*(chat(client, name) for name, client in enumerate(loud)))
    await asyncio.gather(*(chat(client, 'woken') for client in quiet[::10]))
    for client in quiet + loud:
        client.transport.abort()


def test_thousand_idle_and_two_hundred_chatting_connections(start):
    running = start('--disable-logging', cores=1250)
    asyncio.run(idle_and_chatting(running.port, idle=1000, chatting=200, messages=10))
    assert running.get('/quick')[2] == b'quick'


@pytest.mark.smoke
def test_frames_of_many_senders_are_not_mixed(start):
    """The client is slow, so each of them waits in the middle of its frame."""
    size = 300_000
    running = start('--socket-sndbuf', '65536')
    with websocket_to(running.port, f'/pushed?{size}', sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)]) as client:
        client.ping()
        client.send('mine')
        assert [r[2] for r in running.get_all(['/quick'] * 20)[0]] == [b'quick'] * 20
        received = [client.recv() for _ in range(21)]
    assert sorted(received) == sorted([chr(ord('a') + n) * size for n in range(20)] + ['mine'])


def test_other_requests_send_to_it(start):
    running = start()
    with websocket_to(running.port, '/member?one') as one, websocket_to(running.port, '/member?two') as two:
        assert [one.recv(), two.recv()] == ['joined'] * 2
        assert running.get('/say', 'POST', b'hello all')[2] == b''
        assert [one.recv(), two.recv()] == ['hello all'] * 2
        two.close()
        running.wait_for_log('two has left')
        assert running.get('/say', 'POST', b'again')[2] == b'two'
        assert one.recv() == 'again'
        one.send('mine')
        assert one.recv() == 'mine'


def test_request_that_ends_takes_its_websocket_from_others(start):
    running = start('--socket-sndbuf', '65536')
    with websocket_by_hand(running, '/left_in_use'):
        running.wait_for_log(r"ended with \['WebSocketClosed', 'WebSocketClosed'\]")
    assert running.get('/quick')[2] == b'quick'


def test_misuse_is_refused(start):
    assert start().get('/misuse')[2] == b'RuntimeError TypeError ValueError ValueError ValueError'


def test_fragments_of_connections_are_not_mixed(start):
    """Each has its message in three parts, those of the others between them, and a ping."""
    running = start()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(websocket_by_hand(running, '/echo')) for _ in range(10)]
        for first_byte, part in ((0x01, b'one'), (0x00, b'two'), (0x80, b'three')):
            for n, client in enumerate(clients):
                client.sendall(frame(first_byte, b'%d%s' % (n, part)) + (frame(PING, b'p') if first_byte == 0 else b''))
            for client in clients if first_byte == 0 else ():
                assert exactly(client, 3) == b'\x8a\x01p'
        for n, client in enumerate(clients):
            whole = b'%done%dtwo%dthree' % (n, n, n)
            assert exactly(client, 2 + len(whole)) == bytes([TEXT, len(whole)]) + whole


def test_silent_client_is_pinged_and_then_given_up(start):
    running = start('--websockets-ping-freq', '1', '--websockets-pong-tolerance', '1')
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(websocket_by_hand(running, '/closing')) for _ in range(20)]
        for client in clients:
            assert closed_by_server(client) == bytes([PING, 0])
    running.wait_for_log('closed with 1006', count=20)
    assert running.log.count('no PONG received in 1 seconds') == 20


def test_client_that_answers_pings_stays(start):
    running = start('--websockets-ping-freq', '1', '--websockets-pong-tolerance', '1')
    with websocket_by_hand(running, '/closing') as client:
        for _ in range(2):
            assert exactly(client, 2) == bytes([PING, 0])
            client.sendall(frame(PONG))
        client.sendall(frame(TEXT, b'still here'))
        assert exactly(client, 12) == bytes([TEXT, 10]) + b'still here'


@pytest.mark.parametrize('payload, said', [
    (struct.pack('>H', 4001) + b'bye', "closed with 4001 'bye'"), (b'', "closed with 1005 ''")], ids=['4001', 'none'])
def test_close_code_of_the_client_is_seen_and_answered(start, payload, said):
    running = start()
    with websocket_by_hand(running, '/closing') as client:
        client.sendall(frame(CLOSE, payload))
        assert closed_by_server(client) == bytes([CLOSE, len(payload[:2])]) + payload[:2]
    running.wait_for_log(said)


def test_client_that_vanishes_is_seen(start):
    running = start()
    with websocket_by_hand(running, '/closing'):
        pass
    running.wait_for_log("closed with 1006 ''")


def test_close_code_of_the_server_is_sent(start):
    with websocket_by_hand(start(), '/close_with?4002&enough') as client:
        assert closed_by_server(client) == bytes([CLOSE, 8]) + struct.pack('>H', 4002) + b'enough'


@pytest.mark.parametrize('sent, code', [
    (b'\x81\x05hello', 1002), (b'\x89\x00', 1002), (frame(TEXT, b'not \xff UTF-8'), 1007), (frame(TEXT, b'\xed\xa0\x80'), 1007),
    (frame(0x01, b'\xe2\x82') + frame(0x80, b'x'), 1007), (frame(CLOSE, struct.pack('>H', 1000) + b'\xff'), 1007),
    (frame(0x83, b'no such opcode'), 1002), (frame(0x80, b'continues nothing'), 1002), (b'GET / HTTP/1.1\r\n\r\n', 1002),
    (bytes([0x82, 0xff]) + struct.pack('>Q', 2 << 20) + bytes(4), 1009)], ids=['unmasked', 'unmasked-ping', 'no-text', 'surrogate', 'cut-text', 'no-text-in-close', 'opcode', 'fragment', 'http', 'too-big'])
def test_broken_frames_close_with_their_code(start, sent, code):
    running = start(cores=3)
    for _ in range(6):
        with websocket_by_hand(running, '/closing') as client:
            client.sendall(sent)
            assert closed_by_server(client) == bytes([CLOSE, 2]) + struct.pack('>H', code)
    running.wait_for_log(f'closed with {code}: ', count=6)
    assert running.get('/quick')[2] == b'quick'


def test_worker_that_ends_says_so(start):
    """It does not wait for its websockets: they would last."""
    running = start()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(websocket_by_hand(running, '/closing')) for _ in range(20)]
        for client in clients:
            client.sendall(frame(TEXT, b'x'))
            assert exactly(client, 3) == bytes([TEXT, 1]) + b'x'
        running.process.send_signal(signal.SIGHUP)
        for client in clients:
            assert closed_by_server(client) == bytes([CLOSE, 2]) + struct.pack('>H', 1001)
    assert running.process.wait(30) == 17
    assert running.log.count("closed with 1001 ''") == 20


def test_who_may_not_wait_cannot_cut_the_frame_of_another(start):
    running = start()
    with websocket_by_hand(running, '/overtaken') as client:
        running.wait_for_log('the sender waits')
        assert exactly(client, 10) == bytes([TEXT, 127]) + struct.pack('>Q', 5_000_000)
        assert exactly(client, 5_000_000) == b'x' * 5_000_000
        assert closed_by_server(client) == b''
    assert 'refused: ' in running.log
