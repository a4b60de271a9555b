"""sqlite3: SQLite waits for the file's lock in C, holding its connection's mutex."""
import contextlib
import sqlite3

import pytest

from overlap import ask_at_once


@pytest.fixture
def environ(tmp_path):
    path = tmp_path / 'counter.sqlite'
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute('create table counter as select 0 as value')
        connection.commit()
    return {'DATABASE': str(path)}


def total(running):
    return int(running.get('/total')[2])


@pytest.mark.smoke
def test_requests_wait_for_the_lock_that_another_holds(server, environ):
    running = server('with_sqlite.py', cores=30, environ=environ)
    answers, _ = ask_at_once(running, '/add_one', 30)
    assert answers == [str(n) for n in range(30)]
    assert total(running) == 30


def test_others_are_served_while_requests_wait_for_a_lock(server, environ):
    running = server('with_sqlite.py', cores=20, environ=environ)
    with contextlib.closing(sqlite3.connect(environ['DATABASE'], isolation_level=None)) as holder:
        holder.execute('begin immediate')
        waiting = [running.connect() for _ in range(10)]
        for connection in waiting:
            connection.sendall(b'GET /add_one?1 HTTP/1.0\r\n\r\n')
        # Readers pass a writer that has not committed; they are served by the same worker.
        answers, _ = ask_at_once(running, '/total', 10)
        assert answers == ['0'] * 10
        holder.execute('commit')
    for connection in waiting:
        with connection:
            assert connection.makefile('rb').read().startswith(b'HTTP/1.0 200')
    assert total(running) == 10


def test_a_shared_connection_is_not_entered_while_it_waits_for_the_file(server, environ):
    running = server('with_sqlite.py', cores=30, environ=environ)
    with contextlib.closing(sqlite3.connect(environ['DATABASE'], isolation_level=None)) as holder:
        holder.execute('begin immediate')
        waiting = [running.connect() for _ in range(20)]
        for connection in waiting:
            connection.sendall(b'GET /add_one_on_shared?1 HTTP/1.0\r\n\r\n')
        answers, _ = ask_at_once(running, '/total', 5)
        assert answers == ['0'] * 5
        holder.execute('commit')
    for connection in waiting:
        with connection:
            assert connection.makefile('rb').read().startswith(b'HTTP/1.0 200')
    assert total(running) == 20


def test_answers_are_those_of_threads(threaded_server, environ):
    running = threaded_server('with_sqlite.py', environ=environ)
    for path in ('/add_one', '/add_one_on_shared'):
        answers, _ = ask_at_once(running, path, 8)
        assert answers == [str(n) for n in range(8)]
    assert total(running) == 16
