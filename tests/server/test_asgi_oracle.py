"""The same requests to the same applications under uvicorn and here: the responses are the same, byte for byte.

What servers add of their own is left out: Server, Date and Connection. An application that fails is answered in each
server's own words, which are not compared.
"""
import os
import socket
import subprocess
import threading
import time

import pytest
import socketio
import websocket

from conftest import APPS, websocket_to
from overlap import wait_until
from services import free_port

OWN = {b'server', b'date', b'connection'}


@pytest.fixture
def uvicorn(tmp_path):
    """Starts one: uvicorn('module')."""
    started = []

    def start(module):
        port = free_port()
        with open(tmp_path / 'uvicorn.log', 'wb') as log:
            process = subprocess.Popen(
                ['/usr/bin/python3', '-m', 'uvicorn', '--http', 'httptools', '--app-dir', str(APPS), '--port', str(port), f'{module}:application'],
                stdout=log, stderr=subprocess.STDOUT, env={**os.environ, 'PYTHONUNBUFFERED': '1', 'PYTHONHASHSEED': '0'}, cwd=tmp_path)
        started.append(process)
        deadline = time.monotonic() + 60
        while b'Uvicorn running' not in (tmp_path / 'uvicorn.log').read_bytes():
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / 'uvicorn.log').read_text()
            time.sleep(0.02)
        return port

    yield start
    for process in started:
        process.terminate()
        process.wait(60)


def request(method, path, body=b'', headers=(), chunked=False):
    lines = [f'{method} {path} HTTP/1.1', 'Host: example.org', 'X-Some-Header: value', 'Connection: close', *headers]
    if chunked:
        lines.append('Transfer-Encoding: chunked')
        half = len(body) // 2
        body = b'%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n' % (half, body[:half], len(body) - half, body[half:])
    elif body or method in ('POST', 'PUT'):
        lines.append(f'Content-Length: {len(body)}')
    return '\r\n'.join([*lines, '', '']).encode() + body


def ask(port, sent):
    """(status line, other headers, the rest)."""
    with socket.create_connection(('127.0.0.1', port), timeout=60) as connection:
        writer = threading.Thread(target=connection.sendall, args=(sent,))
        writer.start()
        received = b''.join(iter(lambda: connection.recv(65536), b''))
        writer.join()
    head, body = received.split(b'\r\n\r\n', 1)
    status, *headers = head.split(b'\r\n')
    return status, [line for line in headers if line.split(b':')[0].lower() not in OWN], body


FORM = ('Content-Type: application/x-www-form-urlencoded',)
JSON = ('Content-Type: application/json',)
BIG = bytes(range(256)) * 4000
REQUESTS = {
    'asgi': [
        request('GET', '/'), request('HEAD', '/'), request('GET', '/stream'), request('GET', '/stream?0'), request('HEAD', '/stream'),
        request('POST', '/echo', b'hello'), request('POST', '/echo', b''), request('POST', '/echo_stream', b'hello'),
        request('POST', '/echo_stream', b'hello', chunked=True), *[request('GET', f'/status?{code}') for code in (200, 201, 204, 304, 404, 500)],
    ],
    'with_starlette': [
        request('GET', '/'), request('HEAD', '/'), request('GET', '/show/a%20b?x=1&y=%C3%A9', headers=('Cookie: a=1; b=2',)),
        request('GET', '/mounted/show/x'), request('POST', '/echo', b'hello', FORM), request('PUT', '/echo', BIG),
        request('POST', '/echo', b'hello world', chunked=True), request('GET', '/stream'),
        request('HEAD', '/stream'), request('GET', '/file'), request('HEAD', '/file'), request('GET', '/cookies'), request('GET', '/plain'),
        request('GET', '/background'), request('GET', '/redirect'), request('GET', '/nothing'), request('GET', '/missing'),
        request('DELETE', '/'), request('OPTIONS', '/'), request('GET', '/show/%F0%9F%98%80'),
    ],
    'with_fastapi': [
        request('GET', '/'), request('GET', '/plain/3'), request('GET', '/plain/x'), request('POST', '/items', b'{"name": "x"}', JSON),
        request('POST', '/items', b'{', JSON), request('GET', '/docs'), request('GET', '/openapi.json'), request('GET', '/missing'),
    ],
    'with_quart': [
        request('GET', '/'), request('HEAD', '/'), request('GET', '/show/a%20b?x=1'), request('POST', '/echo', b'hello'),
        request('POST', '/echo', BIG), request('POST', '/form', b'a=1&b=2', FORM), request('GET', '/stream'), request('GET', '/missing'),
        request('POST', '/'),
    ],
    'with_channels': [
        request('GET', '/'), request('GET', '/plain/a%20b?x=1'), request('POST', '/echo', b'hello'), request('POST', '/echo', BIG),
        request('POST', '/form', b'a=1&b=2', FORM), request('GET', '/stream'), request('GET', '/missing'),
    ],
}


@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
@pytest.mark.parametrize('module', REQUESTS)
def test_responses_are_uvicorns(server, uvicorn, module, protocol):
    running, port = server(f'{module}.py', protocol=protocol, environ={'PYTHONHASHSEED': '0'}), uvicorn(module)
    for sent in REQUESTS[module]:
        ours, theirs = ask(running.port, sent), ask(port, sent)
        assert ours == theirs, sent[:200]


@pytest.mark.parametrize('module, path', [('with_starlette', '/ws'), ('with_fastapi', '/ws'), ('with_quart', '/ws'),
                                          ('with_channels', '/ws'), ('with_channels', '/plain_ws')])
def test_websockets_of_frameworks(server, module, path):
    with websocket_to(server(f'{module}.py').port, path) as client:
        for text in ('hello', 'x' * 70_000):
            client.send(text)
            assert client.recv() == 'you said ' + text


def test_path_that_has_no_websocket_is_refused(server):
    running = server('with_starlette.py')
    with pytest.raises(websocket.WebSocketBadStatusException) as raised:
        websocket_to(running.port, '/missing').__enter__()
    assert raised.value.status_code == 403


def test_background_task_of_starlette_runs(server):
    running = server('with_starlette.py', protocol='http11-socket')
    assert running.get('/background')[2] == b'answered'
    wait_until(lambda: running.get('/ran')[2] == b'1')


@pytest.mark.parametrize('transports', [['polling'], ['websocket'], ['polling', 'websocket']])
def test_socketio(server, transports):
    running = server('with_asgi_socketio.py', protocol='http11-socket')
    client, said = socketio.Client(), threading.Event()
    client.on('said', lambda text: text == 'you said hello' and said.set())
    client.connect(f'http://127.0.0.1:{running.port}', transports=transports)
    try:
        assert client.call('say', 'hello', timeout=30) == 'heard'
        assert said.wait(30)
    finally:
        client.disconnect()
