"""Libraries that bring their own websockets: Flask-SocketIO, and those that want the connection's socket."""
import contextlib
import queue

import pytest
import socketio
import websocket

from conftest import free_port, websocket_to

CORES = 80


class Chatter:
    """A client of Socket.IO and what it was told."""

    def __init__(self, running, transports):
        self.said, self.counts = queue.Queue(), queue.Queue()
        self.client = socketio.Client(reconnection=False)
        self.client.on('said', self.said.put)
        self.client.on('count', self.counts.put)
        self.client.connect(f'http://127.0.0.1:{running.port}', transports=transports, wait_timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.client.disconnect()


@pytest.fixture
def start(server):
    return lambda *options: server('with_socketio.py', *options, cores=CORES)


@pytest.mark.smoke
@pytest.mark.parametrize('transports', [['websocket'], ['polling', 'websocket'], ['polling']], ids=' '.join)
def test_flask_socketio_chats(start, transports):
    running = start()
    assert 'mode gevent_uwsgi module uwsgi_tornado\n' in running.log
    with contextlib.ExitStack() as stack:
        chatters = [stack.enter_context(Chatter(running, transports)) for _ in range(8)]
        for number, chatter in enumerate(chatters):
            assert chatter.client.call('join', f'room {number % 2}', timeout=30)
        for text in ('hello', b'\x00binary', b'9 is not text'):
            chatters[0].client.emit('say', {'room': 'room 0', 'text': text})
            for chatter in chatters[::2]:
                assert chatter.said.get(timeout=30) == {'room': 'room 0', 'text': text}
        assert all(chatter.said.empty() for chatter in chatters[1::2])


def test_background_tasks_of_flask_socketio_emit(start):
    running = start()
    with Chatter(running, ['websocket']) as one, Chatter(running, ['websocket']) as other:
        assert running.get('/countdown')[2] == b'started'
        for chatter in (one, other):
            assert [chatter.counts.get(timeout=30) for _ in range(3)] == [3, 2, 1]


def test_slow_handlers_of_flask_socketio_hold_nobody_up(start):
    running = start()
    with contextlib.ExitStack() as stack:
        chatters = [stack.enter_context(Chatter(running, ['websocket'])) for _ in range(10)]
        answers = queue.Queue()
        for chatter in chatters * 5:
            chatter.client.emit('wait', callback=answers.put)
        assert [r[2] for r in running.get_all(['/quick'] * 20)[0]] == [b'quick'] * 20
        assert chatters[0].client.call('join', 'room', timeout=30)
        assert answers.empty()
        running.get('/release')
        assert [answers.get(timeout=30) for _ in range(50)] == ['waited'] * 50


@pytest.mark.parametrize('transport', ['websocket', 'polling'])
def test_worker_with_socketio_clients_ends_at_once(start, transport):
    """Its tasks that sleep for ever end, its websockets are closed and its polls answered."""
    running = start('--worker-reload-mercy', '20')
    with Chatter(running, [transport]) as chatter:
        assert chatter.client.call('join', 'room', timeout=30)
        assert running.drain() == 17
        chatter.client.wait()
    assert 'unfinished' not in running.log


@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_connection_is_given_to_those_who_speak_the_protocol_themselves(server, protocol):
    running = server('with_connection.py', protocol=protocol)
    assert running.get()[2] == b'no websocket'
    before = running.descriptors()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(websocket_to(running.port)) for _ in range(20)]
        for number, client in enumerate(clients):
            client.send(str(number))
        assert [client.recv() for client in clients] == [str(number) for number in range(20)]
        clients[0].close(4000)
        assert clients[0].sock is None
    assert running.get()[2] == b'no websocket'
    running.wait_for_log(r'GET / ', count=21)
    assert running.descriptors() <= before + 1
    assert 'StopIteration' not in running.log


def test_connection_ends_with_its_request(server):
    """Whoever reads it still is told, and the client too."""
    running = server('with_connection.py')
    with websocket_to(running.port, '/keep') as client, pytest.raises(websocket.WebSocketConnectionClosedException):
        client.recv()
    running.wait_for_log("thread got b''")


def test_connection_of_tls_is_not_given(server, certificate):
    port = free_port()
    server('with_connection.py', '--https-socket', f'127.0.0.1:{port},{",".join(certificate)}')
    with pytest.raises(websocket.WebSocketBadStatusException, match='200 OK'):
        websocket.create_connection(f'wss://127.0.0.1:{port}/', sslopt={'cert_reqs': 0})
