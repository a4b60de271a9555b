"""memcached with pylibmc (C, waits in libmemcached), pymemcache and python-memcached (Python).

memcached has no slow command, so its answers come over a line that delays them.
"""
import pytest

from overlap import REQUESTS, assert_overlap, ask_at_once

clients = pytest.mark.parametrize('client', ['pylibmc', 'pymemcache', 'memcache'])


@pytest.fixture
def environ(slow_memcached):
    return {'MEMCACHED_PORT': str(slow_memcached.port)}


@clients
@pytest.mark.smoke
def test_requests_that_wait_for_memcached_overlap(server, environ, client):
    running = server('with_memcached.py', cores=REQUESTS, environ=environ)
    for _ in range(2):  # With new connections, then with kept ones.
        assert_overlap(running, f'/{client}', lambda n: f'{n} True', waits_each=2)


@clients
def test_answers_are_those_of_threads(threaded_server, environ, client):
    running = threaded_server('with_memcached.py', environ=environ)
    answers, _ = ask_at_once(running, f'/{client}', 8)
    assert answers == [f'{n} True' for n in range(8)]
