"""PostgreSQL with psycopg2 (C, waits in libpq) and psycopg 3 (Python, waits in select)."""
import pytest

from overlap import REQUESTS, ask_at_once, assert_overlap, is_one_to_one, numbered
from services import wait_until

drivers = pytest.mark.parametrize('driver', ['psycopg2', 'psycopg'])


@pytest.fixture
def environ(postgres):
    wait_until(lambda: postgres.sessions() == 0, 'sessions of earlier tests to end')
    return {'DSN': postgres.dsn}


@drivers
def test_requests_that_share_one_connection_take_turns(server, environ, driver):
    running = server('with_postgres.py', cores=20, environ=environ)
    answers, _ = ask_at_once(running, f'/{driver}/on_shared', 20)
    assert answers == [str(n) for n in range(20)]


@drivers
def test_a_query_the_server_cancels_raises_in_its_own_request(server, environ, driver):
    running = server('with_postgres.py', cores=REQUESTS, environ=environ)
    assert_overlap(running, f'/{driver}/cancelled', lambda n: f'{n} QueryCanceled')


@drivers
def test_requests_wait_for_a_row_that_another_has_locked(server, postgres, environ, driver):
    postgres.query('drop table if exists counter')
    postgres.query('create table counter as select 0 as value')
    running = server('with_postgres.py', cores=30, environ=environ)
    ask_at_once(running, f'/{driver}/add_one', 30)
    assert postgres.query('select value from counter') == [(30,)]


@drivers
def test_answers_are_those_of_threads(threaded_server, environ, driver):
    running = threaded_server('with_postgres.py', environ=environ)
    answers, _ = ask_at_once(running, f'/{driver}/on_kept', 8)
    assert is_one_to_one(zip(*numbered(answers)))
    answers, _ = ask_at_once(running, f'/{driver}/on_new', 8)
    assert len(set(*numbered(answers))) == 8
    answers, _ = ask_at_once(running, f'/{driver}/on_shared', 8)
    assert answers == [str(n) for n in range(8)]
    answers, _ = ask_at_once(running, f'/{driver}/cancelled', 8)
    assert answers == [f'{n} QueryCanceled' for n in range(8)]
