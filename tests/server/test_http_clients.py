"""requests, urllib3, httpx, urllib and pycurl to an upstream that answers after 0.2 s."""
import pytest

from overlap import REQUESTS, ask_at_once, assert_overlap
from services import wait_until

CLIENTS = ['requests', 'session', 'urllib3', 'httpx', 'urllib', 'pycurl']

both = pytest.mark.parametrize('peer', ['http', 'https'], indirect=True)
plain = pytest.mark.parametrize('peer', ['http'], indirect=True)
tls = pytest.mark.parametrize('peer', ['https'], indirect=True)


@pytest.fixture
def peer(request):
    """The upstream and how the app reaches it: (upstream, environment)."""
    if request.param == 'http':
        upstream = request.getfixturevalue('upstream')
        return upstream, {'URL': f'http://127.0.0.1:{upstream.port}'}
    upstream = request.getfixturevalue('tls_upstream')
    certificate, _ = request.getfixturevalue('certificate')
    return upstream, {'URL': f'https://127.0.0.1:{upstream.port}', 'CA': certificate}


@both
@pytest.mark.parametrize('client', CLIENTS)
def test_requests_in_a_client_overlap(server, peer, client):
    upstream, environ = peer
    running = server('with_http.py', cores=REQUESTS, environ=environ)
    assert_overlap(running, f'/{client}', lambda n: f'/{n}')
    assert upstream.connections <= REQUESTS


@both
@pytest.mark.smoke
def test_sessions_kept_by_each_core_are_reused(server, peer):
    upstream, environ = peer
    running = server('with_http.py', cores=REQUESTS, environ=environ)
    for _ in range(2):
        assert_overlap(running, '/session', lambda n: f'/{n}')
    assert upstream.connections == upstream.open <= REQUESTS
    running.drain()
    wait_until(lambda: upstream.open == 0, 'connections to end with the worker')


@tls
def test_connections_that_nobody_keeps_are_closed(server, peer):
    upstream, environ = peer
    running = server('with_http.py', cores=REQUESTS, environ=environ)
    descriptors = running.descriptors()
    for client in ('requests', 'urllib', 'pycurl'):
        ask_at_once(running, f'/{client}', 30)
    wait_until(lambda: upstream.open == 0, 'connections to be closed')
    wait_until(lambda: running.descriptors() == descriptors, 'descriptors to be closed')


@plain
def test_requests_wait_for_a_connection_of_a_small_pool(server, peer):
    upstream, environ = peer
    running = server('with_http.py', cores=40, environ=environ)
    answers, seconds = ask_at_once(running, '/small_pool', 40)
    assert answers == [f'/{n}' for n in range(40)]
    assert upstream.connections == 10
    assert seconds < 40 * 0.2 / 3  # Ten at a time.


@tls
def test_timeouts_of_the_client_are_its_own(server, peer):
    _, environ = peer
    running = server('with_http.py', cores=30, environ=environ)
    answers, _ = ask_at_once(running, '/timeout', 30)
    assert answers == [f'{n} ReadTimeout' for n in range(30)]


@both
def test_large_uploads_arrive_whole(server, peer):
    _, environ = peer
    running = server('with_http.py', cores=30, environ=environ)
    answers, _ = ask_at_once(running, '/upload', 30)
    assert answers == ['1000000'] * 30


def test_a_refused_connection_raises_in_its_own_request(server, upstream):
    running = server('with_http.py', cores=30, environ={'URL': f'http://127.0.0.1:{upstream.port}'})
    answers, _ = ask_at_once(running, '/refused', 30)
    assert answers == [f'{n} ConnectionRefusedError' for n in range(30)]


@both
def test_answers_are_those_of_threads(threaded_server, peer):
    _, environ = peer
    running = threaded_server('with_http.py', environ=environ)
    for client in CLIENTS:
        answers, _ = ask_at_once(running, f'/{client}', 8)
        assert answers == [f'/{n}' for n in range(8)]
    assert ask_at_once(running, '/timeout', 8)[0] == [f'{n} ReadTimeout' for n in range(8)]
    assert ask_at_once(running, '/upload', 8)[0] == ['1000000'] * 8
    assert ask_at_once(running, '/refused', 8)[0] == [f'{n} ConnectionRefusedError' for n in range(8)]
