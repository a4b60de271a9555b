"""Routing actions that wait, and uWSGI's routers in front: slow requests through them, quick ones beside."""
import contextlib
import functools
import http.client
import json
import ssl

import pytest

import clients
from clients import body_of
from conftest import free_port, plugins

REQUESTS = 50


@pytest.fixture
def slow(server):
    """What the routes lead to: another worker of the same kind."""
    return lambda *options: server('wire.py', *options, cores=REQUESTS + 25)


@pytest.fixture
def start(server):
    return lambda *options, cores=REQUESTS + 25: server('wire.py', *options, cores=cores)


def assert_slow_and_quick(running, path):
    """REQUESTS slow requests through the route and quick ones beside them."""
    results, seconds = running.get_all([path] * REQUESTS + ['/?quick'] * 20)
    assert [body for _, _, body in results[:REQUESTS]] == [b'waited'] * REQUESTS
    assert all(json.loads(body)['query'] == 'quick' for _, _, body in results[REQUESTS:])
    assert seconds < REQUESTS * 0.3 / 3


@pytest.mark.smoke
@pytest.mark.parametrize('options', [[], ['--offload-threads', '2']], ids=['', 'offloaded'])
@pytest.mark.parametrize('action', ['http', 'uwsgi'])
def test_proxying_routes(start, slow, tmp_path, action, options):
    if action == 'http':
        behind = slow()
        route = ['--route', f'^/wait http:127.0.0.1:{behind.port}']
    else:
        slow('--socket', str(tmp_path / 'behind'))
        route = ['--route', f'^/wait uwsgi:{tmp_path / "behind"},0,0']
    running = start(*plugins('router_http', 'router_uwsgi'), *route, *options)
    assert_slow_and_quick(running, '/wait?0.3')


def test_offloaded_routes_free_the_cores(start, slow):
    behind = slow()
    running = start(*plugins('router_http'), '--route', f'^/wait http:127.0.0.1:{behind.port}', '--offload-threads', '1',
                    cores=2)
    assert_slow_and_quick(running, '/wait?0.3')


def test_conditional_routes_see_their_own_request(start):
    running = start('--route-if', 'equal:${QUERY_STRING};gone break:410 Gone',
                    '--route-if', 'startswith:${QUERY_STRING};mark addvar:HTTP_X_TEST=${QUERY_STRING}')
    results, _ = running.get_all([path for n in range(20) for path in ('/wait?0.1', '/?gone', f'/?mark{n}', '/?none')])
    assert [r[2] for r in results[::4]] == [b'waited'] * 20
    assert [r[0] for r in results[1::4]] == [410] * 20
    assert [json.loads(r[2])['header'] for r in results[2::4]] == [f'mark{n}' for n in range(20)]
    assert [json.loads(r[2])['header'] for r in results[3::4]] == [None] * 20


def kept(port, scheme):
    if scheme == 'http':
        return http.client.HTTPConnection('127.0.0.1', port, timeout=30)
    return http.client.HTTPSConnection('127.0.0.1', port, timeout=30, context=ssl._create_unverified_context())


def ask_three_times(port, scheme, path):
    """Over one connection."""
    with contextlib.closing(kept(port, scheme)) as connection:
        connection.connect()
        first = connection.sock
        for _ in range(3):
            connection.request('GET', path)
            body = connection.getresponse().read()
            assert connection.sock is first
        return body


@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_kept_connections_of_the_routers(start, tmp_path, certificate, scheme):
    port = free_port()
    address = ','.join([f'127.0.0.1:{port}', *(certificate if scheme == 'https' else ())])
    behind = str(tmp_path / 'behind')
    start(*plugins('http'), '--master', f'--{scheme}', address, '--http-keepalive', '--http-auto-chunked',
          '--http-to', behind, '--socket', behind)
    answers = clients.at_once([functools.partial(ask_three_times, port, scheme, '/wait?0.2')] * 30 +
                              [functools.partial(ask_three_times, port, scheme, '/?quick')] * 20)
    assert answers[:30] == [b'waited'] * 30
    assert all(json.loads(body)['query'] == 'quick' for body in answers[30:])


def test_fastrouter(start, tmp_path):
    port, behind = free_port(), str(tmp_path / 'behind')
    start(*plugins('fastrouter'), '--master', '--fastrouter', f'127.0.0.1:{port}', '--fastrouter-to', behind,
          '--socket', behind)
    ask = functools.partial(clients.uwsgi, port)
    answers = clients.at_once([lambda: ask('/wait?0.3')] * REQUESTS + [lambda: ask('/?quick', 'POST', b'x' * 10_000)] * 20)
    assert [body_of(answer) for answer in answers[:REQUESTS]] == [b'waited'] * REQUESTS
    assert all(len(json.loads(body_of(answer))['body']) == 10_000 for answer in answers[REQUESTS:])
