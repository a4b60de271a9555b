"""The applications of examples/ that use the engine's own module: fan-out, Tornado beside WSGI, processes and threads, a broadcast."""
import contextlib
import hashlib
import http.server
import json
import threading

import pytest
import websocket

from conftest import ROOT, websocket_to
from health import read_until
from overlap import ask_at_once, assert_far_below_serial, wait_until
from services import free_port

COUNT = 50


@pytest.fixture
def start(server):
    return lambda name, *options, **more: server(None, '--ini', str(ROOT / 'examples' / name / 'uwsgi.ini'), *options, **more)


def closed_with(reader):
    """The code, after what was sent before."""
    while True:
        opcode, data = reader.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return int.from_bytes(data[:2], 'big')


# --- Fan-out --------------------------------------------------------------------------------------

def services(*urls, seconds='1'):
    return {'SERVICES': ' '.join(urls), 'SECONDS': seconds}


@pytest.mark.smoke
def test_fan_out_says_who_answered_and_why_others_did_not(start, upstream):
    good = f'http://127.0.0.1:{upstream.port}/'
    late, away = good + 'never', f'http://127.0.0.1:{free_port()}/'
    running = start('fan_out', environ=services(good + 'a', good + 'b', late, away, seconds='2'))
    answers, seconds = ask_at_once(running, '/', 20)
    for found in map(json.loads, answers):
        assert found['answers'] == {good + 'a': '/a', good + 'b': '/b'}
        assert {url: reason.split(':')[0] for url, reason in found['failed'].items()} == {late: 'TimeoutError', away: 'ConnectError'}
    assert_far_below_serial(seconds, 20, wait_s=2)


def test_fan_out_takes_the_first_good_answer(start, upstream):
    good = f'http://127.0.0.1:{upstream.port}/'
    running = start('fan_out', environ=services(good + 'never', f'http://127.0.0.1:{free_port()}/', good + 'a', seconds='60'))
    answers, _ = ask_at_once(running, '/first', COUNT)
    assert answers == ['{"answers": "/a"}\n'] * COUNT


@pytest.mark.parametrize('path', ['/', '/first'])
def test_fan_out_of_which_none_answers(start, path):
    running = start('fan_out', environ=services(f'http://127.0.0.1:{free_port()}/'))
    assert running.get(path)[0] == 502


# --- Tornado beside WSGI --------------------------------------------------------------------------

def test_tornado_and_wsgi_share_their_messages(start):
    port = free_port()
    running = start('tornado_and_wsgi', environ={'TORNADO_PORT': str(port)})
    running.get('/')  # After which Tornado listens, too.
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(websocket_to(port, '/ws')) for _ in range(20)]
        seen = {'messages': ['from WSGI'], 'readers': 20}
        assert json.loads(running.get('/', 'POST', b'from WSGI')[2]) == seen
        readers[0].send('from Tornado')
        for reader in readers:
            assert [reader.recv(), reader.recv()] == ['from WSGI', 'from Tornado']
        assert json.loads(running.get('/')[2]) == {'messages': ['from WSGI', 'from Tornado'], 'readers': 20}
        readers[0].send_binary(b'\xff')
        assert [reader.recv() for reader in readers] == ['\N{REPLACEMENT CHARACTER}'] * 20
        assert len(json.loads(running.get('/')[2])['messages']) == 3
        for reader in readers[10:]:
            reader.close()
        wait_until(lambda: json.loads(running.get('/')[2])['readers'] == 10)
        running.drain()
        assert [closed_with(reader) for reader in readers[:10]] == [1001] * 10


# --- Processes and threads ------------------------------------------------------------------------

def test_lines_of_processes_overlap(start):
    running = start('subprocess')
    results, seconds = running.get_all(['/lines?1'] * 20)
    assert [body for _, _, body in results] == [b'line 1\nended with 3\n'] * 20
    assert_far_below_serial(seconds, 20, wait_s=1)
    assert running.children() == []


def test_lines_come_as_they_are_said_and_end_with_their_reader(start):
    running = start('subprocess')
    with running.connect() as reader:
        reader.sendall(b'GET /lines?1000 HTTP/1.0\r\n\r\n')
        read_until(reader, b'line 2\n')
        assert len(running.children()) == 1
    wait_until(lambda: running.children() == [], timeout_s=20)


def test_work_on_threads_calls_back(start):
    running = start('subprocess')
    expected = hashlib.pbkdf2_hmac('sha256', b'secret', b'salt', 500_000).hex()
    assert [running.get(path, 'POST', b'secret')[0] for path in ('/one', '/two')] == [202, 202]
    assert running.get('/digest', 'POST', b'secret')[2].decode() == f'"{expected}"\n'
    wait_until(lambda: len(json.loads(running.get('/')[2])) == 2)
    assert sorted(json.loads(running.get('/')[2])) == [f'/one: {expected}', f'/two: {expected}']


# --- Broadcast ------------------------------------------------------------------------------------

class Counter(http.server.BaseHTTPRequestHandler):
    """Each GET is answered with the next number; 503 while it is away."""

    def do_GET(self):
        self.server.count += 1
        body = b'%d' % self.server.count
        self.send_response(503 if self.server.away else 200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def counter():
    serving = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Counter)
    serving.count, serving.away = 0, False
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield serving
    serving.shutdown()
    thread.join()
    serving.server_close()


def test_broadcast_reaches_all_and_outlives_a_failure(start, counter):
    running = start('broadcast', environ={'SERVICES': f'http://127.0.0.1:{counter.server_port}/', 'SECONDS': '0.1'})
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(websocket_to(running.port)) for _ in range(COUNT)]
        for reader in readers:
            assert int(reader.recv()) < int(reader.recv())
        counter.away = True
        running.wait_for_log('not fetched: 503', count=2)
        known = counter.count
        counter.away = False
        for reader in readers:
            while int(reader.recv()) <= known:
                pass  # What came before.
        before = running.descriptors()
        for reader in readers[10:]:
            reader.close()
        wait_until(lambda: running.descriptors() <= before - (COUNT - 10))
        running.drain()
        assert [closed_with(reader) for reader in readers[:10]] == [1001] * 10
