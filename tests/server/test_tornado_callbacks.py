"""--tornado-callbacks: fetch(url, callback) of Tornado's AsyncHTTPClient, as before Tornado 6."""
import http.server
import threading

import pytest

from conftest import free_port


@pytest.fixture
def pages():
    """Answers /x with x, and /404 with that."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.path.strip('/').encode()
            self.send_response(404 if body == b'404' else 200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.rfile.read(int(self.headers['Content-Length']))
            self.do_GET()

        def log_message(self, *args):
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 200
    serving = Server(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{serving.server_port}'
    serving.shutdown()
    thread.join()
    serving.server_close()


@pytest.fixture
def start(server, pages):
    def start(*options, upstream=pages, **environ):
        return server('tornado_callbacks.py', *options, environ={'UPSTREAM': upstream, **environ})
    return start


@pytest.mark.smoke
@pytest.mark.parametrize('how', ['second', 'named', 'request', 'options'])
@pytest.mark.parametrize('early', ['', 'yes'])
def test_the_callback_gets_the_response_on_the_hub(start, how, early):
    running = start('--tornado-callbacks', IMPORT_EARLY=early)
    assert running.get(f'/?{how},/page')[2] == b'200 page NoneType True'
    assert [r[2] for r in running.get_all([f'/?{how},/page'] * 20)[0]] == [b'200 page NoneType True'] * 20


def test_a_failure_is_the_responses_error(start):
    running = start('--tornado-callbacks')
    assert running.get('/?second,/404')[2] == b'404 404 HTTPClientError True'
    assert running.get('/?options,/404')[2] == b'404 404 HTTPClientError True'
    assert 'Traceback' not in running.log and 'never retrieved' not in running.log


def test_an_unreachable_server_is_the_responses_error(start):
    running = start('--tornado-callbacks', upstream=f'http://127.0.0.1:{free_port()}')
    assert running.get('/?second,/page')[2] == b'599 None ConnectionRefusedError True'
    assert 'Traceback' not in running.log


def test_the_future_is_as_tornados(start):
    running = start('--tornado-callbacks')
    assert running.get('/?both,/page')[2] == b'200 fetch'
    assert running.get('/?awaited,/page')[2] == b'[200, 404, 404]'


def test_without_the_option_tornado_is_left_alone(start):
    running = start()
    assert b'callback' in running.get('/?refused,/page')[2]
    assert running.get('/?awaited,/page')[2] == b'[200, 404, 404]'
