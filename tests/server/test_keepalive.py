"""Connections that serve one request after another: --http11-socket."""
import contextlib
import http.client
import json
import socket
import threading

import pytest

from health import closed_by_server, read_until

GET = b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'


@pytest.fixture
def start(server):
    return lambda *options, cores=10: server('wire.py', *options, cores=cores, protocol='http11-socket')


@pytest.fixture
def subtests():
    """Of one server: each is tried, whatever became of the others."""
    failures = []

    @contextlib.contextmanager
    def one(name):
        try:
            yield
        except (AssertionError, OSError) as error:
            failures.append((name, repr(error)))

    yield one
    assert failures == []


@contextlib.contextmanager
def kept(running, timeout_s=10):
    with contextlib.closing(http.client.HTTPConnection('127.0.0.1', running.port, timeout=timeout_s)) as connection:
        connection.connect()
        yield connection


def ask(connection, path='/', method='GET', body=None, headers=None):
    """One request that must not need a new connection."""
    before = connection.sock
    connection.request(method, path, body=body, headers=headers or {})
    assert connection.sock is before and before is not None
    response = connection.getresponse()
    return response, response.read()


@pytest.mark.smoke
def test_many_requests_go_over_one_connection(start):
    running = start()
    with kept(running) as connection:
        ask(connection)
        before = running.descriptors()
        for number in range(200):
            _, body = ask(connection, f'/?{number}')
            assert json.loads(body)['query'] == str(number)
        assert running.descriptors() == before


def test_peer_is_right_on_every_request(start):
    running = start()
    connections = [http.client.HTTPConnection('127.0.0.1', running.port, source_address=(f'127.0.0.{n}', 0))
                   for n in (5, 6, 7)]
    for connection in connections * 3:
        connection.connect() if connection.sock is None else None
        assert json.loads(ask(connection)[1])['peer'] == connection.sock.getsockname()[0]
    for connection in connections:
        connection.close()


def test_nothing_of_a_request_is_left_for_the_next(start):
    with kept(start()) as connection:
        said = json.loads(ask(connection, '/?q', 'POST', b'body', {'X-Test': 'secret'})[1])
        assert (said['body'], said['header'], said['query']) == ('body', 'secret', 'q')
        said = json.loads(ask(connection)[1])
        assert (said['body'], said['header'], said['query'], said['method']) == ('', None, '', 'GET')


@pytest.mark.parametrize('size', [1, 4000, 5000, 300000])
def test_bodies_of_any_size(start, size):
    with kept(start()) as connection:
        for number in range(5):
            body = bytes([65 + number]) * size
            assert json.loads(ask(connection, '/', 'POST', body)[1])['body'] == body.decode()


def test_waits_between_and_inside_requests(start):
    with kept(start()) as connection:
        for _ in range(3):
            assert ask(connection, '/wait?0.05')[1] == b'waited'
            assert ask(connection)[0].status == 200


def test_idle_connection_is_closed_by_a_deadline(start):
    running = start('--socket-timeout', '1')
    before = running.descriptors()
    with kept(running) as used, running.connect() as unused:
        ask(used)
        assert closed_by_server(used.sock) == b''
        assert closed_by_server(unused) == b''
        assert running.descriptors() == before


def test_deadline_of_an_idle_connection_moves_with_each_request(start):
    """Six waits of 0.3 s outlast the one second that one idle time may take."""
    running = start('--socket-timeout', '1')
    with kept(running) as connection:
        for _ in range(6):
            assert ask(connection)[0].status == 200
            with running.connect() as clock:  # Another request is the clock: no sleep here.
                clock.sendall(b'GET /wait?0.3 HTTP/1.0\r\n\r\n')
                assert closed_by_server(clock).endswith(b'waited')


@pytest.mark.smoke
def test_idle_connections_make_room_for_new_clients(start):
    running = start(cores=4)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            ask(stack.enter_context(kept(running)))
        assert running.get()[0] == 200


def test_longest_idle_connection_goes_first(start):
    running = start(cores=3)
    with kept(running) as first, kept(running) as second, kept(running) as third:
        for connection in (first, second, third, first):
            ask(connection)
        running.get()
        assert closed_by_server(second.sock) == b''
        assert ask(first)[0].status == 200


def test_busy_connection_is_not_taken_for_idle(start):
    running = start(cores=2)
    with kept(running) as busy, kept(running) as idle:
        ask(busy), ask(idle)
        busy.request('GET', '/wait?0.3')
        assert running.get('/wait?0.01')[0] == 200  # Takes the place of the idle one.
        assert closed_by_server(idle.sock) == b''
        assert busy.getresponse().read() == b'waited'


@pytest.mark.parametrize('request_bytes', [
    b'GET / HTTP/1.1\r\nConnection: close\r\n\r\n',
    b'GET / HTTP/1.1\r\nConnection: Close\r\n\r\n',
    b'GET / HTTP/1.1\r\nConnection: foo, close\r\n\r\n',
    b'GET / HTTP/1.0\r\n\r\n',
    b'GET /endless HTTP/1.1\r\n\r\n',
    b'GET /close HTTP/1.1\r\n\r\n',
    b'POST /unread HTTP/1.1\r\nContent-Length: 99\r\n\r\npart',
], ids=['close', 'Close', 'close-in-list', 'HTTP/1.0', 'no-length', 'app-closes', 'body-unread'])
def test_connection_ends_with_the_response(start, request_bytes):
    running = start()
    before = running.descriptors()
    for _ in range(3):
        with running.connect() as connection:
            connection.sendall(request_bytes)
            assert b'200 OK' in closed_by_server(connection)
    assert running.get()[0] == 200
    assert running.descriptors() <= before + 1


SMUGGLED = b'GET /?smuggled HTTP/1.1\r\nHost: x\r\n\r\n'
CHUNKED = b'%x\r\n%s\r\n0\r\n\r\n' % (len(SMUGGLED), SMUGGLED)


AMBIGUOUS_BODIES = [  # The headers that are to say how long it is, and what follows.
    (b'Transfer-Encoding: chunked', CHUNKED),
    (b'Transfer-Encoding: chunked\r\nContent-Length: 0', CHUNKED),
    (b'Content-Length: 0\r\nTransfer-Encoding: chunked', b'0\r\n\r\n' + SMUGGLED),
    (b'Transfer-Encoding: xchunked', SMUGGLED),
    (b'Transfer-Encoding: gzip, chunked', CHUNKED),
    (b'Transfer-Encoding:\tchunked', CHUNKED),
    (b'Transfer-Encoding : chunked', CHUNKED),
    (b'X: y\r\n Transfer-Encoding: chunked', SMUGGLED),
    (b'X: y\nTransfer-Encoding: chunked', CHUNKED),
    (b'Content-Length: 0\r\nContent-Length: %d' % len(SMUGGLED), SMUGGLED),
    (b'Content-Length: 0, %d' % len(SMUGGLED), SMUGGLED),
    (b'Content-Length : %d' % len(SMUGGLED), SMUGGLED),
    (b'Content-Length:\t%d' % len(SMUGGLED), SMUGGLED),
    (b'Content-Length: +%d' % len(SMUGGLED), SMUGGLED),
    (b'Content-Length: -1', SMUGGLED),
    (b'Content-Length: 0x%x' % len(SMUGGLED), SMUGGLED),
    (b'Content-Length: 0\r\n %d' % len(SMUGGLED), SMUGGLED),
    (b'Content-Length: 0_%d' % len(SMUGGLED), SMUGGLED),
    (b'Content-Length: %d' % (1 << 64), SMUGGLED),
    (b'Content-Length:', SMUGGLED),
]


def assert_is_last(connection, received=b''):
    """At most one request was seen, and no other will be."""
    received += closed_by_server(connection)
    assert received.count(b'HTTP/1.1 ') <= 1 and b'smuggled' not in received, received


@pytest.mark.parametrize('at_once', [True, False], ids=['at-once', 'later'])
def test_body_that_others_see_otherwise_never_becomes_a_request(start, subtests, at_once):
    """Not by one rule that uWSGI follows too, or not read by the application: there is no telling where it ends."""
    running = start()
    for head, body in AMBIGUOUS_BODIES:
        with subtests(head), running.connect() as connection:
            connection.sendall(b'POST /unread HTTP/1.1\r\nHost: x\r\n' + head + b'\r\n\r\n' + (body if at_once else b''))
            received = b''
            if not at_once:
                received = read_until(connection, b'unread')
                with contextlib.suppress(ConnectionError):
                    connection.sendall(body)
            assert_is_last(connection, received)


CHUNKED_BODIES = [
    b'5\r\nhello\r\n0\r\n\r\n',
    b'5\r\nhello\r\n0\r\nX: y\r\n\r\n' + SMUGGLED,
    b'5;a=b\r\nhello\r\n0\r\n\r\n' + SMUGGLED,
    b'5z\r\nhello\r\n0\r\n\r\n' + SMUGGLED,
    b'1\r\nhXX0\r\n\r\n' + SMUGGLED,
    b'-1\r\nhello\r\n0\r\n\r\n' + SMUGGLED,
    b'0\r\n\r\n' + SMUGGLED,
    b'%d0\r\nhello\r\n0\r\n\r\n' % (1 << 64) + SMUGGLED,
]


def test_chunks_read_by_the_application_never_become_a_request(start, subtests):
    running = start()
    for body in CHUNKED_BODIES:
        with subtests(body), running.connect() as connection:
            connection.sendall(b'POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n' + body)
            assert_is_last(connection)


def test_connection_that_ends_for_its_request_says_so(start):
    """So that the client does not send the next in vain (RFC 9112, section 9.6)."""
    with kept(start()) as connection:
        response, body = ask(connection, '/chunks', 'POST', iter([b'one ', b'two']))
        assert (body, response.getheader('Connection')) == (b'one two', 'close')


def test_body_of_a_length_that_all_agree_on_keeps_the_connection(start, subtests):
    running = start()
    for length in (b'4', b' 4 ', b'0004'):
        with subtests(length), running.connect() as connection:
            for _ in range(3):
                connection.sendall(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length:' + length + b'\r\n\r\nbody')
                assert b'"body": "body"' in read_until(connection, b'}')


def test_request_of_another_protocol_ends_the_connection(start, subtests):
    running = start()
    for request_line in (b'GET / HTTP/1.2', b'GET / http/1.1', b'GET / HTTP/1.1 ', b'GET / HTTP/0.9', b'G ET / HTTP/1.1',
                         b'(GET) / HTTP/1.1', b'CONNECT / HTTP/1.1'):
        with subtests(request_line), running.connect() as connection:
            connection.sendall(request_line + b'\r\nHost: x\r\n\r\n')
            assert_is_last(connection)


@pytest.mark.parametrize('path, method', [('/empty', 'GET'), ('/endless', 'HEAD'), ('/head_with_body', 'HEAD')])
def test_response_without_a_body_keeps_the_connection(start, path, method):
    with kept(start()) as connection:
        assert ask(connection, path, method)[1] == b''
        assert ask(connection)[0].status == 200


@pytest.mark.parametrize('path', ['/too_much', '/too_little'])
def test_response_of_another_length_than_promised_ends_the_connection(start, path):
    """What would be left over, or missing, would be read as part of the next response."""
    running = start()
    with running.connect() as connection:
        connection.sendall(b'GET %s HTTP/1.1\r\n\r\n' % path.encode())
        assert b'200 OK' in closed_by_server(connection)


@pytest.mark.smoke
@pytest.mark.parametrize('protocol', ['http11-socket', 'http-socket'])
def test_disconnect_closes_at_once_and_the_request_goes_on(server, protocol):
    running = server('wire.py', cores=10, protocol=protocol)
    before = running.descriptors()
    for _ in range(3):
        with running.connect() as connection:
            connection.sendall(b'GET /disconnected?0.3 HTTP/1.1\r\nHost: x\r\n\r\n')
            assert closed_by_server(connection).endswith(b'\r\n\r\ngone')
    running.wait_for_log(r"disconnected: \[False, -1, 'OSError'\]", count=3)
    assert running.get()[0] == 200
    assert running.descriptors() <= before + 1


def test_what_a_disconnected_request_writes_reaches_no_other_client(start):
    running = start()
    with running.connect() as gone:
        gone.sendall(b'GET /disconnected?0.2 HTTP/1.1\r\nHost: x\r\n\r\n')
        assert closed_by_server(gone).endswith(b'gone')
        with kept(running) as takes_its_number:
            running.wait_for_log('disconnected: ')
            assert json.loads(ask(takes_its_number)[1])['method'] == 'GET'


def test_pipelined_requests_are_never_mixed(start):
    """uWSGI serves the first and closes: a client may send the others again."""
    running = start()
    for _ in range(30):
        with running.connect() as connection:
            connection.sendall(GET.replace(b'/ ', b'/?one ') + GET.replace(b'/ ', b'/?two '))
            received = closed_by_server(connection)
            assert received.count(b'HTTP/1.1 200 OK') in (1, 2)
            assert received.index(b'"one"') < received.find(b'"two"') or b'"two"' not in received
    assert running.get()[0] == 200


@pytest.mark.parametrize('leave', ['before', 'after', 'half', 'during'])
def test_client_that_vanishes_frees_its_core(start, leave):
    running = start(cores=3)
    before = running.descriptors()
    for _ in range(12):
        with kept(running) as connection:
            if leave != 'before':
                ask(connection)
            if leave == 'half':
                connection.sock.sendall(b'GET / HTTP/1.1\r\nHo')
            if leave == 'during':
                connection.sock.sendall(b'GET /wait?0.01 HTTP/1.1\r\n\r\n')
    results, _ = running.get_all(['/wait?0.01'] * 12)
    assert [r[2] for r in results] == [b'waited'] * 12
    assert running.descriptors() <= before + 3


def test_no_descriptor_is_lost_over_many_connections(start):
    running = start()
    ask_once = running.get()
    before = running.descriptors()
    for number in range(500):
        with kept(running) as connection:
            ask(connection)
            if number % 2:
                ask(connection)
    assert running.get()[0] == ask_once[0] == 200
    assert running.descriptors() <= before + 1


def test_a_hundred_clients_with_many_requests_each(start):
    running = start('--listen', '100', cores=120)
    failures = []

    def client(me):
        try:
            with kept(running) as connection:
                for number in range(50):
                    if number % 10 == 9:
                        assert ask(connection, '/wait?0.02')[1] == b'waited'
                    said = json.loads(ask(connection, f'/?{me}-{number}', 'POST', str(me).encode())[1])
                    assert (said['query'], said['body']) == (f'{me}-{number}', str(me))
        except Exception as error:  # Told to the test, which fails on it.
            failures.append(error)

    threads = [threading.Thread(target=client, args=(me,)) for me in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_idle_connections_cost_no_cpu(start):
    running = start(cores=50)
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            ask(stack.enter_context(kept(running)))
        before = running.cpu_s()
        assert running.get('/wait?0.5')[2] == b'waited'
        assert running.cpu_s() - before < 0.1


def test_idle_connections_end_with_the_worker(start):
    running = start()
    with kept(running) as connection:
        ask(connection)
        running.process.send_signal(1)
        assert closed_by_server(connection.sock) == b''
        running.process.wait(20)


def test_new_connection_may_reuse_the_descriptor_of_a_closed_one(start):
    """The number comes back at once; no watcher of the old connection may hear of the new one."""
    running = start(cores=2)
    for _ in range(100):
        first = running.connect()
        first.sendall(GET + b'GET /')
        first.recv(10)
        first.shutdown(socket.SHUT_RDWR)
        first.close()
        with kept(running) as connection:
            assert ask(connection)[0].status == ask(connection)[0].status == 200
