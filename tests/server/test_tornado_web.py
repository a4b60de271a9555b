"""A Tornado application on uWSGI's sockets: answers are those of Tornado's own server, byte for byte."""
import contextlib
import re
import signal
import socket
import subprocess
import sys

import pytest
import websocket

from conftest import APPS, free_port, plugins

pytest.importorskip('tornado')
from tornado import http1connection  # noqa: E402

HOST = b'Host: localhost\r\n'


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / 'files'
    (folder / 'inner').mkdir(parents=True)
    (folder / 'numbers.txt').write_text(''.join(f'{number}\n' for number in range(1000)))
    (folder / 'inner' / 'index.html').write_text('<p>index</p>')
    (folder / 'empty.bin').write_bytes(b'')
    return folder


@pytest.fixture
def reference(files):
    """The port of the same application on Tornado's own server."""
    port = free_port()
    process = subprocess.Popen([sys.executable, str(APPS / 'tornado_web_app.py'), str(port)], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, env={'FILES': str(files), 'PATH': '/usr/bin:/bin'})
    assert process.stdout.readline() == b'listening\n'
    yield port
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.fixture
def serve(server, files):
    def start(*options, protocol='http11-socket', environ_more={}, **keywords):
        return server(None, '--pythonpath', str(APPS), '--module', 'tornado_web_app:application', *options, protocol=protocol,
                      environ={'FILES': str(files), **environ_more}, **keywords)

    return start


def connect(port):
    connection = socket.create_connection(('127.0.0.1', port), timeout=30)
    return contextlib.closing(connection), connection.makefile('rb')


def read_response(stream, method):
    """The bytes of one response, as far as it is delimited; to the end of the connection where it is not."""
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        line = stream.readline()
        if not line:
            return head
        head += line
    status = int(head.split(None, 2)[1])
    if status < 200 and status != 101:
        return head + read_response(stream, method)
    if method == b'HEAD' or status in (101, 204, 304):
        return head
    if b'Transfer-Encoding: chunked' in head:
        return head + read_chunks(stream)
    length = re.search(rb'Content-Length: (\d+)', head)
    return head + (stream.read(int(length.group(1))) if length else stream.read())


def read_chunks(stream):
    pieces = []
    while True:
        size = stream.readline()
        piece = stream.read(int(size, 16) + 2) if size else b''
        pieces += size, piece
        if len(piece) <= 2:  # The last, or the connection's end.
            return b''.join(pieces)


def exchange(port, request):
    """What the server sends for it, and whether the connection takes another request then."""
    closing, stream = connect(port)
    with closing as connection, stream:
        connection.sendall(request)
        response = read_response(stream, request.split(None, 1)[0])
        with contextlib.suppress(OSError):
            connection.sendall(b'GET / HTTP/1.1\r\n' + HOST + b'\r\n')
            return masked(response), read_response(stream, b'GET').startswith(b'HTTP/1.1 200')
        return masked(response), False


def masked(response):
    """Without what is not the same twice: times, and what is drawn by lot."""
    response = re.sub(rb'(Date|Server|Last-Modified|Expires): [^\r]*', rb'\1: -', response)
    response = re.sub(rb'expires=[^;]*', b'expires=-', response)
    if b'_xsrf=' in response:
        response = re.sub(rb'Etag: [^\r]*', b'Etag: -', response)
    response = re.sub(rb'(_xsrf=)[^;]*', rb'\1-', response)
    response = re.sub(rb'(name="_xsrf" value=")[^"]*', rb'\1-', response)
    return re.sub(rb'(signed=")[^"]*', rb'\1-', response)


def request(line, *headers, body=b''):
    lines = [line.encode() + b' HTTP/1.1\r\n', HOST, *[header.encode('latin1') + b'\r\n' for header in headers]]
    if body:
        lines.append(b'Content-Length: %d\r\n' % len(body))
    return b''.join(lines) + b'\r\n' + body


def form(line, body, *headers):
    return request(line, 'Content-Type: application/x-www-form-urlencoded', *headers, body=body)


MULTIPART = (b'--x\r\nContent-Disposition: form-data; name="field"\r\n\r\nvalue\r\n'
             b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\nContent-Type: image/png\r\n\r\n\x00\x01\x02\r\n--x--\r\n')
REQUESTS = {
    'hello': request('GET /'),
    'hello, head': request('HEAD /'),
    'hello, to be closed': request('GET /', 'Connection: close'),
    'hello, 1.0': b'GET / HTTP/1.0\r\n' + HOST + b'\r\n',
    'chunks, 1.0': b'GET /chunks HTTP/1.0\r\n' + HOST + b'\r\n',
    'not allowed': request('POST /template'),
    'unknown method': request('BREW /'),
    'not found': request('GET /nowhere'),
    'template': request('GET /template?title=%3Cb%3E%20caf%C3%A9'),
    'json': request('GET /json?a=1&a=2&b=%20x'),
    'bad argument': request('GET /json?a=%e9'),
    'form': form('POST /json', b'a=1&b=two&a=3'),
    'put': form('PUT /json', b'a=1'),
    'patch': form('PATCH /json', b'a=1'),
    'delete': request('DELETE /json'),
    'options': request('OPTIONS /json'),
    'multipart': request('POST /json', 'Content-Type: multipart/form-data; boundary=x', body=MULTIPART),
    'malformed multipart': request('POST /json', 'Content-Type: multipart/form-data', body=MULTIPART),
    'empty body': request('POST /json', 'Content-Length: 0'),
    'headers': request('GET /headers', 'X-Sent: caf\xe9', 'X-Empty-Not: v', 'x-lower: l'),
    'redirect': request('GET /redirect'),
    'permanent redirect': request('GET /redirect?permanent=1'),
    'redirect handler': request('GET /moved'),
    'http error': request('GET /raise/http'),
    'finish': request('GET /raise/finish'),
    'exception': request('GET /raise/error'),
    'cookies': request('GET /cookies', 'Cookie: a=1; b="two words"; c=3'),
    'signed cookie': request('GET /signed'),
    'xsrf form': request('GET /xsrf'),
    'no xsrf token': form('POST /xsrf', b'a=1'),
    'wrong xsrf token': form('POST /xsrf', b'_xsrf=abc', 'Cookie: _xsrf=def'),
    'xsrf token': form('POST /xsrf', b'_xsrf=abc', 'Cookie: _xsrf=abc'),
    'chunks': request('GET /chunks'),
    'chunks, slowly': request('GET /chunks?wait=1'),
    'chunks, head': request('HEAD /chunks'),
    'upload': request('POST /upload', body=b'abc' * 1000),
    'upload, echoed': request('POST /upload?echo=1', body=b'echo'),
    'large upload': request('PUT /upload', body=b'0123456789' * 100000),
    'etag': request('GET /', 'If-None-Match: "e02aa1b106d5c7c6a98def2b13005d5b84fd8dc8"'),
    'other etag': request('GET /', 'If-None-Match: "other"'),
    'file': request('GET /files/numbers.txt'),
    'file, head': request('HEAD /files/numbers.txt'),
    'file, versioned': request('GET /files/numbers.txt?v=1'),
    'file, empty': request('GET /files/empty.bin'),
    'file, unmodified': request('GET /files/numbers.txt', 'If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT'),
    'folder': request('GET /files/inner/'),
    'folder without slash': request('GET /files/inner'),
    'file outside': request('GET /files/../outside'),
    'no file': request('GET /files/none'),
    'range': request('GET /files/numbers.txt', 'Range: bytes=10-19'),
    'range to the end': request('GET /files/numbers.txt', 'Range: bytes=3880-'),
    'last bytes': request('GET /files/numbers.txt', 'Range: bytes=-5'),
    'range beyond': request('GET /files/numbers.txt', 'Range: bytes=9999-'),
    'malformed range': request('GET /files/numbers.txt', 'Range: bytes=a-b'),
    'no websocket': request('GET /chat'),
    'websocket of no version': request('GET /chat', 'Upgrade: websocket', 'Connection: Upgrade'),
    'websocket of old version': request('GET /chat', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 2'),
    'websocket from elsewhere': request('GET /chat', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13',
                                        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', 'Origin: http://elsewhere'),
    **{f'status {code}': request(f'GET /status/{code}') for code in (200, 201, 204, 299, 304, 400, 404, 500, 599)},
    **{f'status {code}, head': request(f'HEAD /status/{code}') for code in (200, 204, 304, 404)},
    'reason': request('GET /status/200?reason=Fine%20indeed'),
    'length, exact': request('GET /length/13'),
}


def test_answers_are_those_of_tornados_own_server(serve, reference):
    running = serve()
    for name, sent in REQUESTS.items():
        assert exchange(running.port, sent) == exchange(reference, sent), name


# The body in chunks ends the connection, and a response that ends it says so (docs/tornado.md).
CLOSING = {
    'chunked upload': request('POST /upload', 'Transfer-Encoding: chunked') + b'3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n',
    'chunked form': request('POST /json', 'Transfer-Encoding: chunked', 'Content-Type: application/x-www-form-urlencoded')
    + b'3\r\na=1\r\n0\r\n\r\n',
    'expecting to go on': request('POST /upload', 'Expect: 100-continue', body=b'abc'),
    'body refused': request('POST /upload?refuse=1', body=b'abc' * 100),
    'body too large': request('POST /upload?most=10', body=b'abc' * 100),
}


@pytest.mark.parametrize('protocol', ['http11-socket', 'http-socket'])
def test_answers_that_end_the_connection_say_so(serve, reference, protocol):
    running = serve(protocol=protocol)
    for name, sent in {**CLOSING, 'hello': REQUESTS['hello'], 'chunks': REQUESTS['chunks']}.items():
        ours, _ = exchange(running.port, sent)
        theirs, _ = exchange(reference, sent)
        assert ours.replace(b'Connection: close\r\n', b'') == theirs.replace(b'Connection: close\r\n', b''), name


def test_responses_cut_short_are_closed(serve, reference):
    running = serve()
    for path in ('/length/5', '/length/50', '/raise/late'):
        sent = request('GET ' + path)
        ours, theirs = exchange(running.port, sent), exchange(reference, sent)
        assert ours == theirs, path


def sent_until_left(port, sent, refused=lambda: None):
    """What the server sends, until refused() has returned and the client leaves."""
    closing, stream = connect(port)
    with closing as connection, stream:
        connection.sendall(sent)
        refused()
        connection.shutdown(socket.SHUT_WR)
        return stream.read()


@pytest.mark.parametrize('said', ['+10', '1_0', '%D9%A1%D9%A0', '1e1', '10,10'])
def test_lengths_that_are_no_numbers_are_refused(serve, reference, said):
    """Tornado's own server refuses all of them since 6.4: it sends nothing, and the log says why."""
    running = serve()
    sent = request(f'GET /length/{said}')
    assert sent_until_left(running.port, sent, lambda: running.wait_for_log('Cannot send error response')) == b''
    assert 'ValueError: not an integer: ' in running.log
    if hasattr(http1connection, 'parse_int'):
        assert sent_until_left(reference, sent) == b''
    assert exchange(running.port, REQUESTS['hello']) == exchange(reference, REQUESTS['hello'])


def test_large_responses(serve, reference):
    running = serve()
    sent = request('GET /big?pieces=200')
    assert exchange(running.port, sent) == exchange(reference, sent)


@pytest.mark.parametrize('what', ['name', 'value', 'nul', 'empty', 'space'])
def test_headers_that_would_be_more_are_refused(serve, what):
    running = serve()
    response, _ = exchange(running.port, request(f'GET /newline/{what}', 'Connection: close'))
    assert response.startswith(b'HTTP/1.1 500 Internal Server Error\r\n')
    assert b'Injected' not in response
    running.wait_for_log('ValueError: ')


# --- Clients that leave, deadlines, the worker's end -------------------------------------------


def heard(running, line, count=1):
    """Waits until a handler has said so."""
    running.wait_for_log(f'HEARD {line}', count=count)


def test_handlers_hear_of_clients_that_leave(serve):
    running = serve()
    with contextlib.closing(running.connect()) as client:
        client.sendall(request('GET /wait'))
        heard(running, 'waiting')
    heard(running, 'left')
    heard(running, 'waited')
    assert running.get('/')[2] == b'Hello, world'


def test_streaming_handlers_hear_of_clients_that_leave(serve):
    running = serve()
    with contextlib.closing(running.connect()) as client:
        client.sendall(request('POST /upload', 'Content-Length: 100') + b'some')
        running.wait_for_log('HEARD uploading')
    heard(running, 'upload left at 4')


def test_a_client_that_does_not_read_holds_its_writer_only(serve):
    running = serve('--socket-timeout', '60')
    with contextlib.closing(running.connect()) as client:
        client.sendall(request('GET /write_to_left'))
        client.recv(1)
        assert running.get('/')[2] == b'Hello, world'
    heard(running, 'closed')


def test_a_body_that_stalls_is_given_up(serve):
    running = serve('--socket-timeout', '1')
    with contextlib.closing(running.connect()) as client:
        client.sendall(request('POST /upload', 'Content-Length: 100') + b'some')
        assert client.recv(100) == b''
    heard(running, 'upload left at 4')


def test_a_deadline_cancels_the_handler(serve):
    running = serve('--tornado-request-timeout', '0.2')
    assert running.get('/wait')[0] == 504
    assert 'HEARD cancelled' in running.log
    assert running.get('/wait?answer=1')[::2] == (503, b'cancelled')
    assert running.get('/')[2] == b'Hello, world'
    assert 'Traceback' not in running.log.replace('uwsgi_tornado.RequestTimeout', '') or 'RequestTimeout' in running.log


def test_a_deadline_cuts_what_has_begun(serve):
    running = serve('--tornado-request-timeout', '0.2')
    closing, stream = connect(running.port)
    with closing as client, stream:
        client.sendall(request('GET /wait?begun=1'))
        assert stream.read().endswith(b'\r\n\r\n5\r\nbegun\r\n')


def test_websockets_have_no_deadline(serve):
    running = serve('--tornado-request-timeout', '0.1')
    client = websocket.create_connection(f'ws://127.0.0.1:{running.port}/chat')
    assert running.get('/wait')[0] == 504  # Meanwhile its time is over.
    client.send('still here')
    assert client.recv() == 'STILL HERE'
    client.close()


def test_handlers_are_cancelled_as_clients_leave_where_that_is_wanted(serve):
    running = serve('--tornado-client-disconnect')
    with contextlib.closing(running.connect()) as client:
        client.sendall(request('GET /wait'))
        heard(running, 'waiting')
    heard(running, 'left')
    heard(running, 'waited')
    assert running.get('/')[2] == b'Hello, world'


def test_requests_in_flight_end_before_the_worker(serve):
    running = serve()
    closing, stream = connect(running.port)
    with closing as client, stream:
        client.sendall(request('GET /wait'))
        heard(running, 'waiting')
        running.process.send_signal(signal.SIGHUP)
        running.wait_for_log('Gracefully killing')
        client.shutdown(socket.SHUT_WR)  # To Tornado, a client that left.
        heard(running, 'left')


def test_websockets_are_closed_as_the_worker_ends(serve):
    running = serve('--master', '--hook-master-start', 'unix_signal:15 gracefully_kill_them_all')
    client = websocket.create_connection(f'ws://127.0.0.1:{running.port}/chat?hello=1')
    assert client.recv() == 'hello'
    running.process.send_signal(signal.SIGTERM)
    opcode, data = client.recv_data()
    assert (opcode, data[:2]) == (websocket.ABNF.OPCODE_CLOSE, (1001).to_bytes(2, 'big'))
    running.wait_for_log('HEARD closed 1000')  # As the client answers.


# --- Websockets --------------------------------------------------------------------------------


def conversation(port):
    """Everything that a websocket gives, and what the handlers have heard."""
    seen = []
    client = websocket.create_connection(f'ws://127.0.0.1:{port}/chat?hello=1', subprotocols=['other', 'chat'])
    seen += client.subprotocol, client.recv()
    client.send('text')
    client.send_binary(bytes(range(200)))
    seen += client.recv(), client.recv()
    client.send('x' * 70000)
    seen.append(client.recv())
    client.ping('payload')
    seen.append(client.recv_data(control_frame=True))
    client.send('close')
    seen.append(client.recv_data())
    client.close()
    for frames in (b'\x81\xff' + b'\xff' * 8 + b'1234', b'\x83\x81123456', b'\x01\x80', b'\x81\x05hello', b'\x81\x82\x00\x00\x00\x00\xff\xfe'):
        client = websocket.create_connection(f'ws://127.0.0.1:{port}/chat')
        client.sock.sendall(frames)
        client.sock.settimeout(30)
        with contextlib.suppress(ConnectionError):
            client.sock.shutdown(socket.SHUT_WR)
            seen.append(client.sock.recv(1000))
        client.shutdown()
    return seen


def test_websockets(serve, reference):
    running = serve()
    assert conversation(running.port) == conversation(reference)
    running.wait_for_log('HEARD closed None None', count=2)


def test_websocket_handlers_that_raise_lose_their_client_only(serve):
    running = serve()
    client = websocket.create_connection(f'ws://127.0.0.1:{running.port}/chat')
    client.send('raise')
    with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionError)):
        client.recv()
    assert running.get('/')[2] == b'Hello, world'


def test_a_broadcast_reaches_everyone(serve):
    running = serve()
    clients = [websocket.create_connection(f'ws://127.0.0.1:{running.port}/chat') for _ in range(20)]
    assert running.get('/ticker')[2] == b'started'
    for client in clients:
        assert client.recv() == 'tick'
        client.close()
    assert running.get('/ticker', 'DELETE')[2] == b'stopped'


def test_a_client_that_reads_no_messages_is_no_trouble_to_others(serve):
    running = serve()
    slow = websocket.create_connection(f'ws://127.0.0.1:{running.port}/chat')
    slow.sock.settimeout(0.5)
    with contextlib.suppress(websocket.WebSocketTimeoutException, TimeoutError, OSError):
        for _ in range(2000):
            slow.send('x' * 50000)
    quick = websocket.create_connection(f'ws://127.0.0.1:{running.port}/chat')
    quick.send('quick')
    assert quick.recv() == 'QUICK'
    quick.close()
    slow.shutdown()


# --- Other sockets, other loaders ----------------------------------------------------------------


def test_tls(serve, certificate):
    port = free_port()
    running = serve('--https-socket', f'127.0.0.1:{port},{certificate[0]},{certificate[1]}')
    client = websocket.create_connection(f'wss://127.0.0.1:{port}/chat', sslopt={'ca_certs': certificate[0]})
    client.send('x' * 90000)
    assert client.recv() == 'X' * 90000
    client.close()
    page = subprocess.run(['curl', '-s', '--cacert', certificate[0], f'https://127.0.0.1:{port}/json', '-d', 'a=' + 'b' * 100000],
                          capture_output=True, timeout=60, check=True).stdout
    assert b'b' * 100000 in page
    large = subprocess.run(['curl', '-s', '--cacert', certificate[0], f'https://127.0.0.1:{port}/big?pieces=50'],
                           capture_output=True, timeout=60, check=True).stdout
    assert large == bytes(range(256)) * 256 * 50
    assert running.get('/')[2] == b'Hello, world'


@pytest.mark.parametrize('router', [['--http'], ['--http', '--http-chunked-input']])
def test_behind_uwsgis_router(serve, router):
    port = free_port()
    serve('--master', *plugins('http'), router[0], f'127.0.0.1:{port}', *router[1:], '--http-websockets', protocol='socket')
    for name in ('hello', 'json', 'form', 'multipart', 'chunks', 'upload', 'etag', 'range', 'redirect'):
        response, _ = exchange(port, REQUESTS[name].replace(HOST, HOST + b'Connection: close\r\n'))
        assert response.startswith(b'HTTP/1.1 '), name
        assert b'Transfer-Encoding' not in response, name
    if len(router) > 1:
        response, _ = exchange(port, CLOSING['chunked upload'].replace(HOST, HOST + b'Connection: close\r\n'))
        assert b'"size": 13' in response
    client = websocket.create_connection(f'ws://127.0.0.1:{port}/chat')
    client.send('through')
    assert client.recv() == 'THROUGH'
    client.close()


def test_bodies_that_uwsgi_has_buffered(serve):
    running = serve('--post-buffering', '100')
    for size in (50, 5000):
        assert b'"size": %d' % size in exchange(running.port, request('POST /upload', body=b'x' * size))[0]


def test_below_a_mount_point(server):
    running = server(None, '--pythonpath', str(APPS), '--module', 'interfaces:application',
                     '--mount', '/app=tornado_web_app:application', '--manage-script-name')
    assert running.get('/app')[2] == b'Hello, world'
    assert b'"path": "/json"' in running.get('/app/json')[2]
    assert running.get('/other')[2] == b'WSGI'
    assert "tornado: mount point '/app' is served as Tornado" in running.log


def test_listen_goes_on_beside_it(serve):
    port = free_port()
    running = serve(environ_more={'LISTEN': str(port)})
    assert running.get('/')[2] == b'Hello, world'
    response, kept = exchange(port, REQUESTS['hello'])
    assert response.endswith(b'Hello, world') and kept


# --- Steps after the first -----------------------------------------------------------------------


def test_later_steps_of_a_handler_are_its_requests(server):
    running = server('tornado_steps.py', '--tornado-block-warn', '100', '--tornado-server-timing', '--logformat',
                     'who=%(who) waited for %(tornado_waited_for)', protocol='http11-socket')
    assert running.get()[0] == running.get('/', 'POST', b'x' * 100_000)[0] == 200
    running.wait_for_log('who=later waited for application', count=2)
    timing = running.get('/?block=0.4')[1]['Server-Timing']
    assert float(re.search(r'run;dur=([0-9.]+)', timing)[1]) >= 390
    running.wait_for_log(r'tornado: GET /\?block=0\.4 on core \d+ held the loop for ')
