"""ASGI applications: requests, bodies and responses."""
import json
import pathlib
import re

import pytest

from clients import CLIENTS, body_of
from conftest import APPS, ask
from health import read_until
from overlap import wait_until


@pytest.fixture
def start(server):
    return lambda *options, **more: server('asgi.py', *options, **more)


def seen(running):
    return json.loads(running.get('/show_seen')[2])


def scope_of(running, path='/show_scope', **more):
    return json.loads(running.get(path, **more)[2])


@pytest.mark.smoke
def test_request_and_response(start):
    running = start()
    assert running.get()[::2] == (200, b'hello')
    results, seconds = running.get_all(['/sleep?0.2'] * 20)
    assert [result[2] for result in results] == [b'slept'] * 20
    assert "tornado: mount point '' is served as ASGI\n" in running.log


def test_requests_have_no_thread_objects(start):
    """Each would be 2 KiB of an idle websocket. Their fibers run no Python code."""
    running = start('--mount', f'/wsgi={APPS / "wsgi_beside.py"}', '--manage-script-name')
    running.get_all(['/sleep?0.1'] * 10)
    assert running.get('/thread_names')[2] == b'uWSGIWorker1Core0'  # The main thread, as uWSGI names it.
    results, _ = running.get_all(['/wsgi'] * 5)
    assert all(result[2].startswith(b'uWSGIWorker1Core') for result in results)


@pytest.mark.parametrize('path, where', [('/answers', 'after_req_hook'), ('/raises', 'excepthook')])
def test_code_on_the_fiber_has_the_name_of_the_request(server, path, where):
    """Before that, its thread has no object."""
    running = server('asgi_hooked.py')
    running.get(path)
    running.wait_for_log('app: after_req_hook in ')
    assert re.findall(r'app: (\S+) in (\S+)\n', running.log)[0] == (where, 'uWSGIWorker1Core49')


def test_what_is_not_awaited_does_nothing_and_says_so(start):
    """As where they are coroutines written in Python."""
    running = start()
    assert running.get('/forgets_await')[::2] == (200, b'not by that')
    for name in 'receive', 'send':
        running.wait_for_log(f"RuntimeWarning: coroutine '{name}' was never awaited")


def test_application_begins_at_once(start):
    """What it schedules before it answers has not run by then."""
    running = start()
    assert running.get('/at_once')[2] == b'answered'
    assert seen(running)['ran'] == []


@pytest.mark.parametrize('protocol', CLIENTS)
@pytest.mark.parametrize('size', [0, 10, 300_000])
def test_bodies_by_every_protocol(start, protocol, size):
    running = start(protocol=protocol)
    body = bytes(range(256)) * (size // 256) + b'x' * (size % 256)
    response = CLIENTS[protocol](running.port, '/echo', 'POST', body)
    assert body_of(response) == body


@pytest.mark.smoke
def test_scope(start):
    running = start()
    scope = scope_of(running, '/show_scope/?a=1&b=%20', headers={'X-Some-Header': 'one', 'Accept': '*/*'})
    assert scope['type'] == 'http'
    assert scope['asgi'] == {'version': '3.0', 'spec_version': '2.4'}
    assert (scope['http_version'], scope['method'], scope['scheme']) == ('1.1', 'GET', 'http')
    assert (scope['path'], scope['raw_path'], scope['root_path']) == ('/show_scope/', '/show_scope/', '')
    assert scope['query_string'] == 'a=1&b=%20'
    assert scope['client'][0] == '127.0.0.1' and scope['client'][1] > 1024
    assert scope['server'] == ['127.0.0.1', running.port]
    assert ['x-some-header', 'one'] in scope['headers']
    assert [name for name, _ in scope['headers']].count('host') == 1
    assert set(scope['extensions']) == {'http.response.pathsend', 'http.response.trailers', 'http.response.early_hint'}


def test_headers_of_a_response_may_be_any_iterable(start):
    running = start()
    for kind in ('list', 'tuple', 'generator', 'subclass'):
        status, headers, _ = running.get(f'/headers_in?{kind}')
        assert (status, headers['x-one'], headers['x-two']) == (200, '1', '2')
        assert headers.get('x-own') == ('iterator' if kind == 'subclass' else None)


def test_headers_are_each_requests_own(start):
    """Also those whose names and values the engine keeps, and more names than it keeps."""
    running = start(protocol='http11-socket')
    common = ['Host', 'Accept', 'User-Agent', 'Authorization']
    for number in (1, 2, 1, 1, *range(3, 12), 1):
        sent = {**{name: f'{name}-{number}' for name in common}, **{f'X-{number}-{index}': str(index) for index in range(30)}}
        got = scope_of(running, headers=sent)['headers']
        assert [pair for pair in got if pair[0] != 'accept-encoding'] == [[name.lower(), value] for name, value in sent.items()]


def test_scope_is_each_requests_own(start):
    running = start(protocol='http11-socket')
    first, second = (scope_of(running, '/spoil_scope') for _ in range(2))
    first['client'] = second['client']
    assert second == first
    assert 'spoilt' not in json.dumps(second)
    posted = scope_of(running, method='POST', body=b'x')
    assert (posted['method'], second['method']) == ('POST', 'GET')


def test_task_is_named_after_the_path(start):
    assert start().get('/task_name?x=1')[2] == b'/task_name'


def test_scope_of_a_path_with_escapes(start):
    scope = scope_of(start('--route-run', 'log:%{uri}'), '/show_scope/%2F%C3%A9/..')
    assert (scope['path'], scope['raw_path']) == ('/show_scope//é/..', '/show_scope/%2F%C3%A9/..') or scope


def test_scope_under_a_mount_point(server):
    running = server(None, '--pythonpath', str(APPS), '--mount', '/=interfaces:application', '--mount', '/api=asgi:application',
                     '--manage-script-name')
    scope = scope_of(running, '/api/show_scope?x')
    assert (scope['root_path'], scope['path'], scope['raw_path']) == ('/api', '/api/show_scope', '/api/show_scope')
    assert running.get('/other')[2] == b'WSGI'
    assert "tornado: mount point '/api' is served as ASGI\n" in running.log
    assert "tornado: mount point '/' is served as WSGI\n" in running.log


@pytest.mark.parametrize('name', ['asgi', 'decorated', 'plain_asgi', 'asgi_instance', 'asgi_method', 'asgi_partial',
                                  'asgi_instance_partial'])
def test_every_kind_of_asgi_application(server, name):
    assert server('interfaces.py', '--callable', name).get()[2] == b'ASGI'


@pytest.mark.smoke
def test_kept_alive_connection(start):
    running = start(protocol='http11-socket')
    with running.connect() as connection:
        for path, body in [('/', b'hello'), ('/stream?2', b'chunk 0\nchunk 1\n'), ('/sleep?0.01', b'slept'), ('/', b'hello')]:
            assert ask(connection, path) == (200, body)


def test_stream_is_chunked_for_http_1_1_only(start):
    running = start()
    assert running.get('/stream')[1].get('transfer-encoding') == 'chunked'
    with running.connect() as connection:
        connection.sendall(b'GET /stream?2 HTTP/1.0\r\n\r\n')
        received = b''.join(iter(lambda: connection.recv(65536), b''))
    assert b'transfer-encoding' not in received.lower()
    assert received.endswith(b'\r\n\r\nchunk 0\nchunk 1\n')


def writes_of(running):
    """write() calls of the worker so far."""
    return int(re.search(r'syscw: (\d+)', pathlib.Path(f'/proc/{running.process.pid}/io').read_text())[1])


@pytest.mark.parametrize('path', ['burst', 'burst_of_a_task'])
@pytest.mark.parametrize('size', [10, 3000, 20_000])
def test_pieces_that_are_sent_in_one_turn_go_together_and_wait_for_nothing_more(start, path, size):
    running = start('--tornado-client-disconnect')  # It waits for ever, until its client leaves.
    before = writes_of(running)
    with running.connect() as connection:
        connection.sendall(f'GET /{path}?{size} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
        piece = b'%x\r\n%b\r\n' % (size, b'x' * size)
        received = read_until(connection, b'\r\n\r\n')
        while len(received) < len(piece) * 100 or not received.endswith(b'\r\n'):
            received += connection.recv(1 << 20)
    assert received.split(b'\r\n\r\n', 1)[1] == piece * 100
    if size < 16384:
        # Each would be a write of its own. A write may take a part only, and a sanitizer writes, too.
        assert writes_of(running) - before < 40


def test_pieces_do_not_wait_for_an_application_that_computes(start, tmp_path):
    """After a quantum they are sent, also those that were gathered since."""
    with start().connect() as connection:
        connection.sendall(f'GET /compute_between_pieces?{tmp_path} HTTP/1.0\r\n\r\n'.encode())
        for piece in ('second', 'third'):
            assert read_until(connection, f'{piece} '.encode())
            assert not (tmp_path / piece).exists()
            (tmp_path / piece).touch()
        assert read_until(connection, b'last') == b'last'


def test_the_watchdog_sleeps_while_pieces_wait_for_the_quantum(start, tmp_path):
    def ticks(thread):
        return sum(map(int, (thread / 'stat').read_text().rsplit(')', 1)[1].split()[11:13]))

    def watchdogs():
        return [thread for thread in threads.iterdir() if (thread / 'comm').read_text() == 'uwsgi-watchdog\n']

    def of_loop():
        return ticks(threads / str(running.process.pid))

    def of_watchdog():
        return ticks(*watchdogs())
    running = start()
    threads = pathlib.Path(f'/proc/{running.process.pid}/task')
    wait_until(watchdogs)  # It names itself.
    with running.connect() as connection:
        before = of_loop(), of_watchdog()
        connection.sendall(f'GET /compute_between_pieces?{tmp_path} HTTP/1.0\r\n\r\n'.encode())
        assert read_until(connection, b'second ')
        wait_until(lambda: of_loop() >= before[0] + 50)
        assert of_watchdog() - before[1] < 10
        for piece in ('second', 'third'):
            (tmp_path / piece).touch()
        read_until(connection, b'last')


def test_chunked_request_body(start):
    running = start()
    with running.connect() as connection:
        connection.sendall(b'POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n')
        for part in (b'5;ext=1\r\nhel', b'lo\r\n', b'6\r', b'\n world\r\n0\r\nTrailer: x\r\n', b'\r\n'):
            connection.sendall(part)
        received = b''.join(iter(lambda: connection.recv(65536), b''))
    assert received.endswith(b'\r\n\r\nhello world')


@pytest.mark.parametrize('chunks', [b'x\r\n', b'-1\r\n', b'5\r\nhello__', b'fffffffffffffffff\r\n', b'\r\n', b'5\nhello\r\n'])
def test_broken_chunks_end_the_body(start, chunks):
    running = start()
    with running.connect() as connection:
        connection.sendall(b'POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n' + chunks)
        received = b''.join(iter(lambda: connection.recv(65536), b''))
    assert received == b'' or received.startswith(b'HTTP/1.1 500 ')
    assert running.get()[2] == b'hello'


def test_client_that_expects_100_continue(start):
    running = start()
    with running.connect() as connection:
        connection.sendall(b'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
        assert read_until(connection, b'\r\n\r\n') == b'HTTP/1.1 100 Continue\r\n\r\n'
        connection.sendall(b'hello')
        assert b''.join(iter(lambda: connection.recv(65536), b'')).endswith(b'\r\n\r\nhello')
    with running.connect() as connection:  # Nobody asks for its body.
        connection.sendall(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
        assert read_until(connection, b'\r\n\r\n').startswith(b'HTTP/1.1 200 OK')


def test_body_comes_in_parts_as_it_is_sent(start):
    running = start(protocol='http11-socket')
    with running.connect() as connection:
        connection.sendall(b'POST /echo_stream HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello')
        assert read_until(connection, b'hello\r\n').endswith(b'5\r\nhello\r\n')
        connection.sendall(b'world')
        assert read_until(connection, b'0\r\n\r\n').startswith(b'5\r\nworld\r\n')


def test_cancelled_receive_takes_nothing(start):
    running = start()
    with running.connect() as connection:
        connection.sendall(b'POST /two_receive HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n')
        read_until(connection, b'cancelled')
        connection.sendall(b'helloworld')
        assert b''.join(iter(lambda: connection.recv(65536), b'')).endswith(b'helloworld\r\n0\r\n\r\n')


def test_head_and_bodiless_statuses(start):
    running = start(protocol='http11-socket')
    status, headers, body = running.get('/', 'HEAD')
    assert (status, headers['content-length'], body) == (200, '5', b'')
    assert 'transfer-encoding' not in running.get('/stream', 'HEAD')[1]
    for code in (204, 304):
        status, headers, body = running.get(f'/status?{code}')
        assert (status, body) == (code, b'') and 'transfer-encoding' not in headers
    with running.connect() as connection:
        for path in ('/status?204', '/status?304', '/'):
            ask(connection, path)


def test_status_lines(start):
    running = start()
    for code, reason in ((200, 'OK'), (404, 'Not Found'), (418, "I'm a Teapot"), (299, 'Unknown')):
        with running.connect() as connection:
            connection.sendall(b'GET /status?%d HTTP/1.1\r\nHost: x\r\n\r\n' % code)
            assert read_until(connection, b'\r\n').startswith(f'HTTP/1.1 {code} {reason}\r\n'.encode())


def test_trailers(start):
    with start(protocol='http11-socket').connect() as connection:
        connection.sendall(b'GET /trailers HTTP/1.1\r\nHost: x\r\n\r\n')
        assert read_until(connection, b'4\r\n\r\n').endswith(b'4\r\ndata\r\n0\r\nx-sum: 4\r\n\r\n')


def test_early_hint(start):
    with start().connect() as connection:
        connection.sendall(b'GET /early_hint HTTP/1.1\r\nHost: x\r\n\r\n')
        received = b''.join(iter(lambda: connection.recv(65536), b''))
    hint, response = received.split(b'\r\n\r\n', 1)
    assert hint == b'HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload'
    assert response.startswith(b'HTTP/1.1 200 OK\r\n') and response.endswith(b'hinted')


@pytest.mark.parametrize('options', [[], ['--offload-threads', '1']])
def test_files(start, tmp_path, options):
    running = start(*options)
    for size in (0, 10, 3_000_000):
        (tmp_path / 'file').write_bytes(b'x' * size)
        status, headers, body = running.get(f'/pathsend?{tmp_path / "file"}')
        assert (status, headers['content-length'], len(body)) == (200, str(size), size)
    assert running.get('/pathsend?' + str(tmp_path / 'file'), 'HEAD')[1]['content-length'] == '3000000'
    assert running.get('/no_such_file')[0] == 500


def test_context_is_each_requests_own(start):
    running = start()
    assert [running.get('/show_context')[2] for _ in range(3)] == [b'unset'] * 3


# --- What goes wrong ------------------------------------------------------------------------------


@pytest.mark.smoke
def test_exceptions(start):
    running = start(protocol='http11-socket')
    assert running.get('/raise_before')[0] == 500
    assert running.get('/exit_in_it')[0] == 500
    assert running.get('/returns_nothing')[0] == 500
    with running.connect() as connection:
        connection.sendall(b'GET /raise_within HTTP/1.1\r\nHost: x\r\n\r\n')
        received = b''.join(iter(lambda: connection.recv(65536), b''))
    assert received.endswith(b'5\r\nbegun\r\n')
    with running.connect() as connection:
        assert ask(connection, '/raise_after_response') == (200, b'answered')
        assert ask(connection, '/') == (200, b'hello')
    for text in ('ValueError: raised before the response', 'ValueError: raised within the response', 'SystemExit: 3',
                 'the application raised an exception after its response', 'ValueError: raised after the response',
                 'RuntimeError: the application returned without a response'):
        assert text in running.log


def wrong_messages():
    text = (APPS / 'asgi.py').read_text()
    return re.findall(r"^    '(\w+)': \[", text, re.M)


def test_messages_in_the_wrong_order_of_a_wrong_type_or_with_injections(start):
    running = start(protocol='http11-socket')
    names = wrong_messages()
    assert len(names) > 20
    for name in names:
        with running.connect() as connection:
            connection.sendall(f'GET /wrong?{name} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
            received = b''.join(iter(lambda: connection.recv(65536), b''))
        assert b'injected' not in received, name
        begun = name.startswith('trailer_')  # The body has been sent then.
        assert received.startswith(b'HTTP/1.1 200 ' if begun else b'HTTP/1.1 500 '), (name, received)
    assert running.log.count('Traceback') == len(names)


def test_an_application_may_catch_the_error_of_a_wrong_message(start):
    running = start()
    assert running.get('/caught?body_first')[2] == b'RuntimeError: http.response.body: http.response.start must be sent first'
    assert running.get('/caught?started_twice')[2] == b'RuntimeError: http.response.start: the response has started already'
    assert running.get('/caught?body_is_text')[2] == b'TypeError: body is bytes, not str'


# --- What goes on after the response ------------------------------------------------------------------


def test_application_goes_on_after_its_response(start):
    """Its connection serves the next request meanwhile."""
    running = start(cores=2, protocol='http11-socket')
    with running.connect() as connection:
        assert ask(connection, '/after_response') == (200, b'answered')
        assert ask(connection, '/') == (200, b'hello')
        assert ask(connection, '/release') == (200, b'released')
    wait_until(lambda: seen(running).get('after'))
    assert seen(running)['errors'] == ['http.response.body: the response is complete']


# --- Clients that leave ---------------------------------------------------------------------------------


@pytest.mark.smoke
def test_client_that_leaves_is_told_of(start):
    running = start()
    with running.connect() as connection:
        connection.sendall(b'GET /until_left HTTP/1.1\r\nHost: x\r\n\r\n')
        read_until(connection, b'begun')
    wait_until(lambda: seen(running)['left'] == 1)
    assert 'Traceback' not in running.log


def test_send_to_a_client_that_has_left_raises_an_oserror(start):
    running = start()
    with running.connect() as connection:
        connection.sendall(b'GET /endless HTTP/1.1\r\nHost: x\r\n\r\n')
        connection.recv(1000)
    wait_until(lambda: seen(running)['left'] == 1)
    assert running.get()[2] == b'hello'
    assert 'Traceback' not in running.log


def test_slow_reader_holds_the_application_back(start):
    running = start()
    with running.connect() as connection:
        connection.sendall(b'GET /endless HTTP/1.1\r\nHost: x\r\n\r\n')
        connection.recv(1000)
        wait_until(lambda: seen(running).get('sent'))
        sent = -1
        while sent != (sent := seen(running)['sent']):
            pass
        assert sent < 20_000_000
    wait_until(lambda: seen(running)['left'] == 1)


# --- Deadlines ----------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_deadline(start):
    running = start('--tornado-request-timeout', '0.3', protocol='http11-socket')
    assert running.get('/wait_forever')[0] == 504
    assert running.get('/answer_when_cancelled')[::2] == (503, b'too late')
    with running.connect() as connection:
        connection.sendall(b'GET /wait_within_stream HTTP/1.1\r\nHost: x\r\n\r\n')
        assert b''.join(iter(lambda: connection.recv(65536), b'')).endswith(b'5\r\nbegun\r\n')
    assert seen(running)['cancelled'] == 2
    assert 'RequestTimeout: GET /wait_forever has taken longer than 0.3 s' in running.log


def test_deadline_by_a_route(start):
    running = start('--route', '^/wait addvar:uwsgi_tornado.timeout=0.2')
    assert running.get('/wait_forever')[0] == 504


def test_client_disconnect_cancels(start):
    running = start('--tornado-client-disconnect')
    with running.connect() as connection:
        connection.sendall(b'GET /wait_forever HTTP/1.1\r\nHost: x\r\n\r\n')
        wait_until(lambda: any(fiber['uri'] == '/wait_forever' for fiber in json.loads(running.get('/fibers')[2])))
    wait_until(lambda: seen(running)['cancelled'] == 1)
    assert 'Traceback' not in running.log


def test_drain_lets_requests_end(start):
    running = start('--worker-reload-mercy', '20')
    with running.connect() as connection:
        connection.sendall(b'GET /sleep?0.5 HTTP/1.1\r\nHost: x\r\n\r\n')
        wait_until(lambda: any(fiber['uri'] == '/sleep?0.5' for fiber in json.loads(running.get('/fibers')[2])))
        running.drain()
        assert b''.join(iter(lambda: connection.recv(65536), b'')).endswith(b'slept')


def test_drain_ends_what_waits_for_ever(start):
    running = start('--worker-reload-mercy', '2')
    with running.connect() as connection:
        connection.sendall(b'GET /wait_within_stream HTTP/1.1\r\nHost: x\r\n\r\n')
        read_until(connection, b'begun')
        running.drain()
    assert 'requests unfinished' not in running.log


# --- Being seen ---------------------------------------------------------------------------------------------


def test_fibers_and_dump(start):
    running = start('--tornado-client-disconnect')
    with running.connect() as connection:
        connection.sendall(b'GET /deep HTTP/1.1\r\nHost: x\r\n\r\n')
        wait_until(lambda: 'in inner' in running.get('/dump')[2].decode())
        text = running.get('/dump')[2].decode()
        assert re.search(r'GET /deep \(core \d+\).*, waits for application.*in application\n.*in deep\n.*in inner\n', text, re.S)
        fiber = next(fiber for fiber in json.loads(running.get('/fibers')[2]) if fiber['uri'] == '/deep')
        assert (fiber['state'], fiber['waits_for']) == ('waits', 'application')


def test_block_warning_names_the_request(start):
    running = start('--tornado-block-warn', '100')
    running.get('/block?0.4')
    running.wait_for_log(r'tornado: GET /block\?0\.4 on core \d+ has held the loop for ')
    running.wait_for_log(r'tornado: GET /block\?0\.4 on core \d+ held the loop for ')


def test_log_variables_and_server_timing(start):
    running = start('--tornado-server-timing', '--logformat', 'ran %(tornado_ran) waited %(tornado_waited) for %(tornado_waited_for)')
    timing = running.get('/sleep?0.2')[1]['Server-Timing']
    waited = float(re.search(r'wait;dur=([0-9.]+);desc="application"', timing).group(1))
    ran = float(re.search(r'run;dur=([0-9.]+)', timing).group(1))
    assert 190 < waited < 1000 and ran < 190
    running.wait_for_log('ran [0-9.]+ waited [0-9.]+ for application')
