"""SQLAlchemy on psycopg2, with a pool smaller than the number of requests."""
import pytest

from overlap import REQUESTS, ask_at_once, numbered
from services import wait_until

POOL_SIZE = 10


@pytest.fixture
def environ(postgres):
    wait_until(lambda: postgres.sessions() == 0, 'sessions of earlier tests to end')
    postgres.query('drop table if exists note')
    postgres.query('create table note (id serial primary key, request integer, words text)')
    return {'URL': f'postgresql+psycopg2://app@127.0.0.1:{postgres.port}/postgres'}


def notes(postgres):
    return postgres.query('select request, array_agg(words order by id) from note group by 1 order by 1')


def notes_of(count):
    return [(n, ['first', 'second']) for n in range(count) if n % 3 != 0]


@pytest.mark.smoke
def test_requests_wait_for_a_connection_of_the_pool(server, postgres, environ):
    running = server('with_sqlalchemy.py', cores=REQUESTS, environ=environ)
    answers, seconds = ask_at_once(running, '/pooled')
    sessions, = numbered(answers)
    assert len(set(sessions)) == POOL_SIZE
    assert postgres.sessions() == POOL_SIZE
    assert seconds < REQUESTS * 0.05 / 2  # Ten at a time.


def test_sessions_of_the_orm_are_not_mixed(server, postgres, environ):
    running = server('with_sqlalchemy.py', cores=REQUESTS, environ=environ)
    answers, _ = ask_at_once(running, '/write')
    assert answers == [f'{n} 2' for n in range(REQUESTS)]
    assert notes(postgres) == notes_of(REQUESTS)


def test_answers_are_those_of_threads(threaded_server, postgres, environ):
    running = threaded_server('with_sqlalchemy.py', environ=environ)
    answers, _ = ask_at_once(running, '/write', 8)
    assert answers == [f'{n} 2' for n in range(8)]
    assert notes(postgres) == notes_of(8)
