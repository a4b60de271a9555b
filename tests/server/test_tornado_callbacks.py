"""--tornado-callbacks: fetch(url, callback) of Tornado's AsyncHTTPClient, as before Tornado 6."""
import pytest

from conftest import free_port


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
