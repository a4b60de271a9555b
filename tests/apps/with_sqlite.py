"""sqlite3: a file whose lock every request wants, and one connection shared by all."""
import contextlib
import os
import sqlite3
import time

from router import serve

DATABASE = os.environ['DATABASE']


def connect(**options):
    return contextlib.closing(sqlite3.connect(DATABASE, timeout=30, isolation_level=None, **options))


shared = sqlite3.connect(DATABASE, timeout=30, isolation_level=None, check_same_thread=False)


def add_one(n):
    """Waits for the file's lock in C, in SQLite's busy handler."""
    with connect() as connection:
        connection.execute('begin immediate')
        value, = connection.execute('select value from counter').fetchone()
        time.sleep(0.005)
        connection.execute('update counter set value = ?', [value + 1])
        connection.execute('commit')
    return n


def add_one_on_shared(n):
    """One statement; SQLite waits for the file's lock while others come to its connection."""
    shared.execute('update counter set value = value + 1')
    return n


def total(n):
    with connect() as connection:
        return connection.execute('select value from counter').fetchone()[0]


application = serve({'/add_one': add_one, '/add_one_on_shared': add_one_on_shared, '/total': total})
