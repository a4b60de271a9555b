"""MariaDB with mysqlclient (C, waits in libmariadb) and PyMySQL (Python, waits in recv)."""
import pytest

from overlap import REQUESTS, ask_at_once, is_one_to_one, numbered
from services import wait_until

drivers = pytest.mark.parametrize('driver', ['mysqlclient', 'pymysql'])
NO_SUCH_TABLE = 1146


@pytest.fixture
def environ(mariadb):
    wait_until(lambda: mariadb.sessions() == 0, 'sessions of earlier tests to end')
    return {'MARIADB_PORT': str(mariadb.port)}


@drivers
def test_an_error_of_the_server_raises_in_its_own_request(server, environ, driver):
    running = server('with_mysql.py', cores=REQUESTS, environ=environ)
    answers, _ = ask_at_once(running, f'/{driver}/refused')
    assert answers == [f'{n} {NO_SUCH_TABLE}' for n in range(REQUESTS)]


@drivers
def test_requests_wait_for_a_row_that_another_has_locked(server, mariadb, environ, driver):
    for statement in ('create database if not exists test', 'drop table if exists test.counter',
                      'create table test.counter engine=innodb as select 0 as value'):
        mariadb.query(statement)
    running = server('with_mysql.py', cores=30, environ=environ)
    ask_at_once(running, f'/{driver}/add_one', 30)
    assert mariadb.query('select value from test.counter') == ((30,),)


@drivers
def test_answers_are_those_of_threads(threaded_server, environ, driver):
    running = threaded_server('with_mysql.py', environ=environ)
    answers, _ = ask_at_once(running, f'/{driver}/on_kept', 8)
    assert is_one_to_one(zip(*numbered(answers)))
    answers, _ = ask_at_once(running, f'/{driver}/on_new', 8)
    assert len(set(*numbered(answers))) == 8
    answers, _ = ask_at_once(running, f'/{driver}/refused', 8)
    assert answers == [f'{n} {NO_SUCH_TABLE}' for n in range(8)]
