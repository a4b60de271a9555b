"""What every driver of a database is asked, of those that wait in C and of those that wait in Python."""
import collections

import pytest

from overlap import REQUESTS, ask_at_once, assert_far_below_serial, is_one_to_one, numbered
from services import wait_until

Database = collections.namedtuple('Database', 'app service environ')

DRIVERS = {'mysqlclient': 'mariadb', 'pymysql': 'mariadb', 'psycopg2': 'postgres', 'psycopg': 'postgres'}


@pytest.fixture(params=DRIVERS)
def driver(request):
    return request.param


@pytest.fixture
def database(request, driver):
    service = request.getfixturevalue(DRIVERS[driver])
    wait_until(lambda: service.sessions() == 0, 'sessions of earlier tests to end')
    if DRIVERS[driver] == 'mariadb':
        return Database('with_mysql.py', service, {'MARIADB_PORT': str(service.port)})
    return Database('with_postgres.py', service, {'DSN': service.dsn})


@pytest.mark.smoke
def test_each_core_keeps_a_connection_of_its_own(server, database, driver):
    running = server(database.app, cores=REQUESTS, environ=database.environ)
    pairs = set()
    for _ in range(2):
        answers, seconds = ask_at_once(running, f'/{driver}/on_kept')
        assert_far_below_serial(seconds)
        pairs.update(zip(*numbered(answers)))
    assert is_one_to_one(pairs)
    assert database.service.sessions() == len(pairs) <= REQUESTS
    running.drain()
    wait_until(lambda: database.service.sessions() == 0, 'sessions to end with the worker')


def test_connections_made_and_closed_in_each_request_overlap(server, database, driver):
    running = server(database.app, cores=REQUESTS, environ=database.environ)
    descriptors = running.descriptors()
    answers, seconds = ask_at_once(running, f'/{driver}/on_new')
    sessions, = numbered(answers)
    assert len(set(sessions)) == REQUESTS
    assert_far_below_serial(seconds)
    wait_until(lambda: database.service.sessions() == 0, 'sessions to end with their requests')
    wait_until(lambda: running.descriptors() == descriptors, 'descriptors to be closed')


def test_large_results_arrive_whole(server, database, driver):
    running = server(database.app, cores=20, environ=database.environ)
    answers, _ = ask_at_once(running, f'/{driver}/large', 20)
    assert answers == [f"{n} 1000000 {{'{n % 10}'}}" for n in range(20)]
