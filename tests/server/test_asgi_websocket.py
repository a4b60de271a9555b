"""ASGI's websockets."""
import contextlib
import json
import re
import socket
import struct

import pytest
import websocket

from clients import WEBSOCKET_HANDSHAKE, exactly, websocket_by_hand
from conftest import APPS, EMBEDDED, free_port, websocket_to
from health import closed_by_server
from overlap import wait_until

PING, PONG, CLOSE, TEXT, BINARY = 0x89, 0x8a, 0x88, 0x81, 0x82


@pytest.fixture
def start(server):
    return lambda *options, **more: server('asgi_websocket.py', *options, **more)


def seen(running):
    return json.loads(running.get()[2])


def frame(first_byte, payload=b''):
    """A client's frame whose mask changes nothing."""
    size = len(payload)
    length = struct.pack('>B', 0x80 | size) if size < 126 else struct.pack('>BH', 0x80 | 126, size)
    return bytes([first_byte]) + length + bytes(4) + payload


@pytest.mark.smoke
def test_messages_are_echoed(start):
    running = start()
    with websocket_to(running.port, '/echo') as client:
        for size in (0, 1, 125, 126, 65535, 65536, 900_000, 5_000_000):
            client.send('x' * size)
            assert client.recv() == 'x' * size
        client.send_binary(b'\xff\x00')
        assert client.recv() == b'\xff\x00'
        client.send('\u20ac')
        assert client.recv() == '\u20ac'
        for number in range(500):
            client.send(str(number))
        assert [client.recv() for _ in range(500)] == [str(number) for number in range(500)]
    wait_until(lambda: seen(running)['disconnects'] == [[1000, '']])


@pytest.mark.parametrize('protocol', ['https-socket', 'http', 'https'])
def test_behind_tls_and_routers(start, tmp_path, certificate, protocol):
    port = free_port()
    address = ','.join([f'127.0.0.1:{port}', *(certificate if protocol.startswith('https') else ())])
    behind = [] if protocol == 'https-socket' else ['--master', '--http-websockets', '--http-to', str(tmp_path / 'behind'),
                                                    '--socket', str(tmp_path / 'behind')]
    start(*([] if EMBEDDED else ['--plugin', 'http']), f'--{protocol}', address, *behind)
    with websocket_to(port, '/echo', 'wss' if protocol.startswith('https') else 'ws') as client:
        for size in (1, 200_000, 3):
            client.send('x' * size)
            assert client.recv() == 'x' * size


def test_scope_subprotocols_and_headers(start):
    running = start()
    with websocket_to(running.port, '/show_scope?a=1', subprotocols=['one', 'two']) as client:
        scope = json.loads(client.recv())
    assert (scope['type'], scope['scheme'], scope['path'], scope['query_string']) == ('websocket', 'ws', '/show_scope', 'a=1')
    assert scope['subprotocols'] == ['one', 'two']
    assert 'method' not in scope
    with websocket_to(running.port, '/subprotocol', subprotocols=['one', 'two']) as client:
        assert client.getsubprotocol() == 'two'
        assert 'x-header' in client.getheaders()


@pytest.mark.smoke
def test_closes_of_either_side(start):
    running = start()
    with websocket_to(running.port, '/close') as client:
        opcode, data = client.recv_data(control_frame=True)
        assert (opcode, data) == (websocket.ABNF.OPCODE_CLOSE, struct.pack('>H', 4001) + 'réason'.encode())
    wait_until(lambda: seen(running)['errors'])
    assert seen(running) == {'disconnects': [[4001, 'after close']], 'errors': ['websocket.send: the websocket has been closed'],
                             'cancelled': 0}
    for payload, told in [(struct.pack('>H', 4002) + b'bye', [4002, 'bye']), (b'', [1005, ''])]:
        with websocket_by_hand(running, '/echo') as connection:
            connection.sendall(frame(CLOSE, payload))
            assert exactly(connection, 2)[0] == CLOSE
        wait_until(lambda: told in seen(running)['disconnects'])
    with websocket_by_hand(running, '/echo'):
        pass
    wait_until(lambda: [1006, ''] in seen(running)['disconnects'])
    assert 'Traceback' not in running.log


def response_to(running, path, request=WEBSOCKET_HANDSHAKE):
    with running.connect() as connection:
        connection.sendall(request % path.encode() if b'%s' in request else request)
        return b''.join(iter(lambda: connection.recv(65536), b''))


def test_refusals_and_denials(start):
    running = start()
    assert response_to(running, '/close_before_accept').startswith(b'HTTP/1.1 403 Forbidden\r\n')
    denied = response_to(running, '/deny')
    assert denied.startswith(b'HTTP/1.1 401 Unauthorized\r\n') and b'x-why: no ticket\r\n' in denied
    assert denied.endswith(b'\r\n\r\nno ticket!')
    assert response_to(running, '/raises_before').startswith(b'HTTP/1.1 500 ')
    assert response_to(running, '/returns_before').startswith(b'HTTP/1.1 500 ')
    for change, status in [((b'Version: 13', b'Version: 12'), b'426'), ((b'Sec-WebSocket-Key', b'Key'), b'400'), ((b'GET', b'POST'), b'400')]:
        assert response_to(running, '/echo', WEBSOCKET_HANDSHAKE.replace(*change)).startswith(b'HTTP/1.1 ' + status)


def test_application_that_raises_or_returns(start):
    running = start()
    for path, code in (('/raises_within', 1011), ('/returns_within', 1000)):
        with websocket_by_hand(running, path) as connection:
            assert exactly(connection, 4) == bytes([CLOSE, 2]) + struct.pack('>H', code)
            assert closed_by_server(connection) == b''
    assert running.log.count('Traceback') == 1


def test_wrong_messages(start):
    running = start()
    names = re.findall(r"^    '(\w+)': \[(ACCEPT, )?", (APPS / 'asgi_websocket.py').read_text(), re.M)
    for name, accepted in names:
        received = response_to(running, f'/wrong?{name}')
        assert b'injected' not in received, name
        assert received.startswith(b'HTTP/1.1 101 ' if accepted else b'HTTP/1.1 500 '), (name, received)
        if accepted:
            assert received.endswith(bytes([CLOSE, 2]) + struct.pack('>H', 1011)), (name, received)
    assert running.log.count('Traceback') == len(names)


# --- Clients that do what they should not ---------------------------------------------------------------


@pytest.mark.parametrize('bad, code', [
    (b'\x81\x05hello', 1002),  # Without a mask.
    (frame(0xc1, b'x'), 1002),  # Of an extension.
    (frame(0x83, b'x'), 1002),  # Of no opcode.
    (frame(0x80, b'x'), 1002),  # A continuation of nothing.
    (frame(0x09, b'x'), 1002),  # A ping in fragments.
    (frame(TEXT, b'\xff'), 1007),
    (bytes([TEXT, 0xff]) + struct.pack('>Q', 1 << 40) + bytes(4), 1009),
    (bytes([TEXT, 0xff]) + struct.pack('>Q', (16 << 20) + 1) + bytes(4), 1009),
    (frame(CLOSE, b'\x03'), 1002),
    (frame(CLOSE, struct.pack('>H', 1005)), 1002),
])
def test_frames_that_are_none(start, bad, code):
    running = start()
    with websocket_by_hand(running, '/echo') as connection:
        connection.sendall(frame(TEXT, b'first'))
        assert exactly(connection, 7) == b'\x81\x05first'
        connection.sendall(bad)
        assert exactly(connection, 4) == bytes([CLOSE, 2]) + struct.pack('>H', code)
    wait_until(lambda: len(seen(running)['disconnects']) == 1)
    assert seen(running)['disconnects'][0][0] == code


def test_size_of_messages_is_limited_by_the_option(start):
    with websocket_by_hand(start('--websockets-max-size', '1'), '/echo') as connection:
        connection.sendall(frame(TEXT, bytes(1025)))
        assert exactly(connection, 4) == bytes([CLOSE, 2]) + struct.pack('>H', 1009)


def test_pings_are_answered_whatever_the_application_does(start):
    running = start()
    with websocket_by_hand(running, '/deaf?5') as connection:
        assert exactly(connection, 6) == b'\x81\x04deaf'
        connection.sendall(frame(PING, b'ping'))
        assert exactly(connection, 6) == bytes([PONG, 4]) + b'ping'
        connection.sendall(frame(CLOSE, struct.pack('>H', 1000)))
        assert exactly(connection, 4) == bytes([CLOSE, 2]) + struct.pack('>H', 1000)


def test_flood_of_frames_is_held_back(start):
    """The application does not receive: no more is read than is kept for it, and all of it is there later."""
    running = start()
    with websocket_by_hand(running, '/deaf?2') as connection:
        assert exactly(connection, 6) == b'\x81\x04deaf'
        connection.settimeout(0.5)
        sent = 0
        with contextlib.suppress(socket.timeout):
            while True:
                connection.sendall(frame(TEXT, b'x' * 100) * 1000)
                sent += 1000
        assert sent < 500_000
        connection.settimeout(30)
        assert exactly(connection, 102 * 1000)[:6] == b'\x81\x64xxxx'


def test_slow_reader_holds_the_application_back(start):
    running = start()
    with websocket_by_hand(running, '/flood'):
        wait_until(lambda: seen(running).get('sent'))
        sent = -1
        while sent != (sent := seen(running)['sent']):
            pass
        assert sent < 3000
    wait_until(lambda: seen(running)['errors'] == ['ConnectionResetError'])
    assert 'Traceback' not in running.log


def test_silent_client_is_pinged_and_given_up(start):
    running = start('--websockets-ping-freq', '1', '--websockets-pong-tolerance', '1')
    with websocket_by_hand(running, '/echo') as connection:
        assert exactly(connection, 2) == bytes([PING, 0])
        assert closed_by_server(connection) == b''
    wait_until(lambda: seen(running)['disconnects'] == [[1006, '']])


# --- Many, and the end -----------------------------------------------------------------------------------


def test_broadcast(start):
    running = start(cores=60)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(websocket_to(running.port, '/broadcast')) for _ in range(50)]
        for client in clients[:3]:
            client.send('hello')
        for client in clients:
            assert [client.recv() for _ in range(3)] == ['hello'] * 3


@pytest.mark.smoke
def test_worker_that_ends_says_goodbye(start):
    running = start('--worker-reload-mercy', '4')
    with websocket_by_hand(running, '/echo') as idle, websocket_by_hand(running, '/deaf') as deaf:
        assert exactly(deaf, 6) == b'\x81\x04deaf'
        running.process.send_signal(1)
        for connection in (idle, deaf):
            assert exactly(connection, 4) == bytes([CLOSE, 2]) + struct.pack('>H', 1001)
        running.process.wait(30)
    assert 'requests unfinished' not in running.log


def test_deadline(start):
    running = start('--tornado-request-timeout', '0.5')
    with websocket_by_hand(running, '/deaf') as connection:
        assert exactly(connection, 6) == b'\x81\x04deaf'
        assert exactly(connection, 4) == bytes([CLOSE, 2]) + struct.pack('>H', 1011)
    assert seen(running)['cancelled'] == 1
