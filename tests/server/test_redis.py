"""Redis with redis-py, parsing in C (hiredis) and in Python."""
import pytest
import redis

from overlap import REQUESTS, ask_at_once, assert_far_below_serial, assert_overlap

without_hiredis = pytest.mark.skipif(not redis.utils.HIREDIS_AVAILABLE, reason='this redis-py wants a newer hiredis, as in Debian 13')
parsers = pytest.mark.parametrize('parser', [pytest.param('hiredis', marks=without_hiredis), 'python'])


@pytest.fixture
def redis_client(redis_server):
    client = redis_server.client()
    client.flushall()
    return client


@pytest.fixture
def environ(redis_server, redis_client):
    return {'REDIS_PORT': str(redis_server.port)}


@parsers
@pytest.mark.smoke
def test_requests_that_wait_for_an_item_overlap(server, redis_client, environ, parser):
    running = server('with_redis.py', cores=REQUESTS, environ=environ)
    assert_overlap(running, f'/{parser}/blpop', lambda n: f"None ('some:{n}', '{n}')")
    assert redis_client.info('clients')['blocked_clients'] == 0


def test_requests_wait_for_a_connection_of_a_small_pool(server, redis_client, environ):
    running = server('with_redis.py', cores=REQUESTS, environ=environ)
    before = redis_client.info('stats')['total_connections_received']
    answers, seconds = ask_at_once(running, '/hiredis/with_few' if redis.utils.HIREDIS_AVAILABLE else '/python/with_few')
    assert answers == ['None'] * REQUESTS
    assert seconds < REQUESTS * 0.1 / 3  # Ten at a time.
    assert redis_client.info('stats')['total_connections_received'] - before == 10


@parsers
def test_pipelines_with_large_values_are_not_mixed(server, redis_client, environ, parser):
    running = server('with_redis.py', cores=REQUESTS, environ=environ)
    answers, _ = ask_at_once(running, f'/{parser}/pipeline')
    assert answers == [f'{n} True 200000 1' for n in range(REQUESTS)]
    assert redis_client.get('counter') == str(REQUESTS).encode()


@parsers
def test_subscribers_wait_for_their_messages(server, environ, parser):
    running = server('with_redis.py', cores=REQUESTS, environ=environ)
    assert_overlap(running, f'/{parser}/subscribe', lambda n: f'hello {n}')


@parsers
def test_a_lock_in_redis_lets_one_in(server, redis_client, environ, parser):
    running = server('with_redis.py', cores=30, environ=environ)
    ask_at_once(running, f'/{parser}/lock', 30)
    assert redis_client.get('locked') == b'30'


@parsers
def test_answers_are_those_of_threads(threaded_server, redis_client, environ, parser):
    running = threaded_server('with_redis.py', '--enable-threads', environ=environ)
    answers, _ = ask_at_once(running, f'/{parser}/blpop', 8)
    assert answers == [f"None ('some:{n}', '{n}')" for n in range(8)]
    answers, _ = ask_at_once(running, f'/{parser}/pipeline', 8)
    assert answers == [f'{n} True 200000 1' for n in range(8)]
    answers, _ = ask_at_once(running, f'/{parser}/subscribe', 8)
    assert answers == [f'hello {n}' for n in range(8)]
