"""A page that counts its visits in PostgreSQL, a slow query, and a health check.

libpq reads where the database is, and the password, from the environment: PGHOST, PGUSER, PGPASSWORD.
"""
import contextlib

import psycopg2

TABLE = 'create table if not exists visits (at timestamptz default now())'
COUNT = 'insert into visits default values; select count(*) from visits'


def answer(query):
    with contextlib.closing(psycopg2.connect('')) as connection, connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def visits():
    with contextlib.closing(psycopg2.connect('')) as connection, connection, connection.cursor() as cursor:
        cursor.execute('select pg_advisory_xact_lock(1)')  # If two create a table at once, one fails.
        cursor.execute(TABLE)
        cursor.execute(COUNT)
        return cursor.fetchone()[0]


PAGES = {
    '/': lambda: f'visit {visits()}\n',
    '/slow': lambda: f'waited{answer("select pg_sleep(1)")}\n',  # Suspends this request only.
    '/healthz': lambda: 'ok\n',
}


def application(environ, start_response):
    page = PAGES.get(environ['PATH_INFO'])
    if page is None:
        start_response('404 Not Found', [('Content-Type', 'text/plain')])
        return [b'no such page\n']
    body = page().encode()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
