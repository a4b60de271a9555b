"""An unchanged Django site: the ORM on PostgreSQL with persistent connections, and async views."""
import pytest

from overlap import REQUESTS, ask_at_once, assert_far_below_serial, assert_overlap, is_one_to_one, numbered
from services import wait_until


@pytest.fixture
def environ(postgres):
    wait_until(lambda: postgres.sessions() == 0, 'sessions of earlier tests to end')
    for statement in ('drop table if exists entry, counter',
                      'create table entry (id serial primary key, request integer, step integer)',
                      'create table counter (id serial primary key, value integer)',
                      'insert into counter (value) values (0)'):
        postgres.query(statement)
    return {'POSTGRES_PORT': str(postgres.port)}


def entries(postgres):
    return postgres.query('select request, array_agg(step order by id) from entry group by 1 order by 1')


def entries_of(count):
    return [(n, [0, 1, 2]) for n in range(count) if n % 3 != 0]


@pytest.mark.smoke
def test_each_core_keeps_a_database_session_of_its_own(server, postgres, environ):
    running = server('django_site.py', cores=REQUESTS, environ=environ)
    pairs = set()
    for _ in range(2):
        answers, seconds = ask_at_once(running, '/session')
        assert_far_below_serial(seconds)
        pairs.update(zip(*numbered(answers)))
    assert is_one_to_one(pairs)
    assert postgres.sessions() == len(pairs) <= REQUESTS


def test_transactions_of_concurrent_requests_are_not_mixed(server, postgres, environ):
    running = server('django_site.py', cores=REQUESTS, environ=environ)
    answers, seconds = ask_at_once(running, '/write')
    assert answers == [f'{n} 3 1' for n in range(REQUESTS)]
    assert entries(postgres) == entries_of(REQUESTS)
    assert_far_below_serial(seconds, wait_s=0.15)


def test_requests_wait_for_a_row_that_another_has_locked(server, postgres, environ):
    running = server('django_site.py', cores=50, environ=environ)
    ask_at_once(running, '/add_one', 50)
    assert postgres.query('select value from counter') == [(50,)]


def test_async_views_overlap(server, environ):
    running = server('django_site.py', cores=REQUESTS, environ=environ)
    assert_overlap(running, '/sleep', str)


def test_async_views_use_the_orm(server, environ):
    running = server('django_site.py', cores=REQUESTS, environ=environ)
    assert_overlap(running, '/query', lambda n: f'slept {n}')


def test_streams_that_query_between_chunks_overlap(server, environ):
    running = server('django_site.py', cores=REQUESTS, environ=environ)
    assert_overlap(running, '/stream', lambda n: f'{n},' * 4)


def test_answers_are_those_of_threads(threaded_server, postgres, environ):
    running = threaded_server('django_site.py', environ=environ)
    assert is_one_to_one(zip(*numbered(ask_at_once(running, '/session', 8)[0])))
    assert ask_at_once(running, '/write', 8)[0] == [f'{n} 3 1' for n in range(8)]
    assert entries(postgres) == entries_of(8)
    assert ask_at_once(running, '/sleep', 8)[0] == [str(n) for n in range(8)]
    assert ask_at_once(running, '/query', 8)[0] == [f'slept {n}' for n in range(8)]
    assert ask_at_once(running, '/stream', 8)[0] == [f'{n},' * 4 for n in range(8)]
