"""Requests of the kinds that TechEmpower measures, by psycopg2; the tables are made once."""
import contextlib
import html
import os
import queue
import random
import sys

import psycopg2
import psycopg2.extensions

WORLDS = 10_000
CONNECTIONS = 64
FORTUNES = ['A bug is a feature with seniority.', 'A computer program does what you tell it to do.', 'Feature: a bug with seniority.',
            'A bad random number generator: 1, 1, 1, 1, 1', '<script>alert("not run")</script>', 'Computers make very fast mistakes.',
            'Emacs is a nice operating system.', 'Any program that runs right is obsolete.', 'A list is only as strong as its weakest link.',
            'After enough decimal places, nobody cares.', 'If it works, it is out of date.', 'Caf\xe9']

free = queue.LifoQueue()
for _ in range(CONNECTIONS):
    free.put(None)


def wait_by_gevent(connection):
    """What psycogreen's users install."""
    from gevent.socket import wait_read, wait_write
    wait = {psycopg2.extensions.POLL_READ: wait_read, psycopg2.extensions.POLL_WRITE: wait_write}
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        wait[state](connection.fileno())


if 'gevent' in sys.modules:
    psycopg2.extensions.set_wait_callback(wait_by_gevent)


def connect():
    connection = psycopg2.connect(os.environ['BENCH_POSTGRES'])
    connection.autocommit = True
    return connection


@contextlib.contextmanager
def cursor():
    connection = free.get() or connect()
    try:
        with connection.cursor() as one:
            yield one
    finally:
        free.put(connection)


def make_tables():
    with connect() as connection, connection.cursor() as one:
        one.execute('create table world (id integer primary key, randomnumber integer not null)')
        one.execute('insert into world select i, 1 + (random() * 9999)::integer from generate_series(1, %s) i', (WORLDS,))
        one.execute('create table fortune (id integer primary key, message text not null)')
        one.executemany('insert into fortune values (%s, %s)', list(enumerate(FORTUNES, 1)))


def some_id():
    return random.randint(1, WORLDS)


def world(one):
    one.execute('select id, randomnumber from world where id = %s', (some_id(),))
    number, value = one.fetchone()
    return {'id': number, 'randomNumber': value}


def queries(count):
    with cursor() as one:
        return [world(one) for _ in range(count)]


def updates(count):
    with cursor() as one:
        worlds = [world(one) for _ in range(count)]
        for found in sorted(worlds, key=lambda found: found['id']):
            found['randomNumber'] = some_id()
            one.execute('update world set randomnumber = %s where id = %s', (found['randomNumber'], found['id']))
        return worlds


def fortunes():
    with cursor() as one:
        one.execute('select id, message from fortune')
        rows = one.fetchall()
    return sorted([*rows, (0, 'Additional fortune added at request time.')], key=lambda row: row[1])


def page(rows):
    """For those without templates."""
    cells = ''.join(f'<tr><td>{number}</td><td>{html.escape(message)}</td></tr>' for number, message in rows)
    return f'<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table><tr><th>id</th><th>message</th></tr>{cells}</table></body></html>'
