"""--tornado-http-client: Tornado's AsyncHTTPClient on the engine, in programs that know nothing of it."""
import time

import pytest

from conftest import ROOT, free_port
from overlap import assert_far_below_serial

OURS = 'uwsgi_tornado'


@pytest.fixture
def ask(server, upstream):
    def ask(path, *options, **environ):
        running = server('tornado_http_client.py', *options, environ={'UPSTREAM': f'http://127.0.0.1:{upstream.port}', **environ})
        status, _, body = running.get(path)
        assert status == 200, running.log
        return body.decode()
    return ask


@pytest.mark.smoke
def test_the_option_chooses_our_client(ask):
    module, name, max_clients = ask('/which', '--tornado-http-client').split()
    assert module.startswith(OURS) and (name, max_clients) == ('AsyncHTTPClient', '10')


def test_one_line_of_the_program_chooses_it_too(ask):
    module, _, max_clients = ask('/which', CONFIGURE='yes').split()
    assert module.startswith(OURS) and max_clients == '50'


def test_without_either_it_is_tornados(ask):
    assert ask('/which').split()[:2] == ['tornado.simple_httpclient', 'SimpleAsyncHTTPClient']


def test_the_synchronous_client_fetches_too(ask):
    """It runs asyncio's loop, not the worker's."""
    assert ask('/sync', '--tornado-http-client') == repr(b'/page')


def test_many_fetches_of_one_request_are_at_once(ask):
    begun = time.monotonic()
    assert ask('/many', '--tornado-http-client') == repr([b'/%d' % n for n in range(20)])
    assert_far_below_serial(time.monotonic() - begun - 2, 20)  # Two for the start of the server.


@pytest.mark.parametrize('how', ['second', 'named', 'request', 'options'])
def test_with_callbacks_too(server, pages, how):
    running = server('tornado_callbacks.py', '--tornado-callbacks', '--tornado-http-client', environ={'UPSTREAM': pages})
    assert running.get(f'/?{how},/page')[2] == b'200 page NoneType True'
    assert [r[2] for r in running.get_all([f'/?{how},/page'] * 20)[0]] == [b'200 page NoneType True'] * 20
    assert running.get(f'/?{how},/404')[2] == b'404 404 HTTPClientError True'
    assert running.get('/?awaited,/page')[2] == b'[200, 404, 404]'
    assert 'Traceback' not in running.log and 'never retrieved' not in running.log


def test_an_unreachable_server_is_the_callbacks_error(server):
    running = server('tornado_callbacks.py', '--tornado-callbacks', '--tornado-http-client',
                     environ={'UPSTREAM': f'http://127.0.0.1:{free_port()}'})
    assert running.get('/?second,/page')[2] == b'599 None CurlError True'


@pytest.mark.parametrize('name', ['greenlet_fetch', 'greenlet_timer'])
def test_the_programs_of_uwsgis_documentation_use_it_unchanged(server, pages, name):
    running = server(None, '--ini', str(ROOT / 'examples' / name / 'uwsgi.ini'), '--tornado-http-client',
                     environ={'SERVICES': f'{pages}/services', 'SECONDS': '0.2'})
    assert [r[2] for r in running.get_all(['/'] * 50)[0]] == [b'services'] * 50
