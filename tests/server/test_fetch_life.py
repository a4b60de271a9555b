"""A drained worker waits for the fetches it has begun, and not for streams."""
import contextlib
import http.server
import threading
import time

import pytest

UWSGI_RELOAD_CODE = 17


class HeldUpstream:
    """Answers when told; /endless goes on until its client is gone."""

    def __init__(self):
        self.asked, self.told, self.left = threading.Event(), threading.Event(), threading.Event()
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                upstream.asked.set()
                if self.path == '/watched':
                    self.wfile.flush()
                    with contextlib.suppress(ConnectionError):  # A reset is an end, too.
                        if self.connection.recv(1) != b'':
                            return
                    upstream.left.set()
                    return
                if self.path == '/endless':
                    try:
                        while True:
                            self.wfile.write(b'x')
                            time.sleep(0.01)
                    except OSError:
                        return
                upstream.told.wait(60)
                self.wfile.write(b'the page')

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.told.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def upstream():
    held = HeldUpstream()
    yield held
    held.close()


@pytest.fixture
def running(server, upstream):
    return server('fetch_life.py', environ={'UPSTREAM': upstream.url})


def drain_in_background(running):
    ended = []
    thread = threading.Thread(target=lambda: ended.append(running.drain()))
    thread.start()
    running.wait_for_log('Gracefully killing worker')
    return thread, ended


@pytest.mark.smoke
def test_drain_waits_for_the_fetch_of_a_request(running, upstream):
    answers = []
    client = threading.Thread(target=lambda: answers.append(running.get('/fetch')[2]))
    client.start()
    upstream.asked.wait(30)
    thread, ended = drain_in_background(running)
    upstream.told.set()
    client.join()
    thread.join()
    assert answers == [b'the page'] and ended == [UWSGI_RELOAD_CODE]


def test_drain_waits_for_the_fetch_of_a_task(running, upstream):
    assert running.get('/task')[2] == b'begun'
    upstream.asked.wait(30)
    thread, ended = drain_in_background(running)
    upstream.told.set()
    thread.join()
    assert 'the task has fetched the page' in running.log and ended == [UWSGI_RELOAD_CODE]


def test_drain_does_not_wait_for_a_stream(running, upstream):
    assert running.get('/stream')[2] == b'begun'
    running.wait_for_log('the stream begins')
    started = time.monotonic()
    assert running.drain() == UWSGI_RELOAD_CODE
    assert time.monotonic() - started < 30  # worker-reload-mercy is 60.


def test_a_fetch_ends_when_its_requests_client_leaves(running, upstream):
    with running.connect() as client:
        client.sendall(b'GET /watched HTTP/1.1\r\nHost: x\r\n\r\n')
        assert upstream.asked.wait(30)
    assert upstream.left.wait(30)  # Its transfer is cancelled, its connection closed.
    running.wait_for_log('disconnected: the client of this request has disconnected False')


def test_a_fetch_goes_on_when_its_requests_client_sends_more(running, upstream):
    with running.connect() as client:
        client.sendall(b'GET /pipelined HTTP/1.1\r\nHost: x\r\n\r\nmore')
        assert upstream.asked.wait(30)
        upstream.told.set()
        assert client.makefile('rb').read().endswith(b'the page')


def test_a_fetch_that_is_over_while_its_body_is_read_ends_after(server):
    """The loop turns for the request that holds the lock, and comes by the fetch again."""
    running = server('fetch_reentered.py')
    results, _ = running.get_all(['/fetch', '/hold'])
    assert [r[2] for r in results] == [b'400', b'held']
    assert 'Exception ignored' not in running.log
