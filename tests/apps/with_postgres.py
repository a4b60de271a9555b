"""PostgreSQL with psycopg2 and psycopg 3, as an app for threads would use them."""
import contextlib
import os
import threading
import time

import psycopg
import psycopg2
import psycopg2.errors

from router import serve

DSN = os.environ['DSN']
local = threading.local()


class Driver:
    def __init__(self, module):
        self.module = module
        self.shared = None
        self.shared_lock = threading.Lock()

    def connect(self):
        connection = self.module.connect(DSN)
        connection.autocommit = True
        return connection

    def kept(self):
        """The connection of this thread."""
        name = self.module.__name__
        if not hasattr(local, name):
            setattr(local, name, self.connect())
        return getattr(local, name)

    def on_kept(self, n):
        return f'{wait_in(self.kept(), n)} {threading.get_ident()}'

    def on_new(self, n):
        with contextlib.closing(self.connect()) as connection:
            return wait_in(connection, n)

    def on_shared(self, n):
        """Both drivers allow threads to share one connection; they take turns inside it."""
        with self.shared_lock:
            if self.shared is None:
                self.shared = self.connect()
        with self.shared.cursor() as cursor:
            cursor.execute('select pg_sleep(0.02), %s', [n])
            return cursor.fetchone()[1]

    def large(self, n):
        with self.kept().cursor() as cursor:
            cursor.execute('select pg_sleep(0.05), repeat(%s, 1000000)', [str(n % 10)])
            text = cursor.fetchone()[1]
        return f'{n} {len(text)} {set(text)}'

    def cancelled(self, n):
        with self.kept().cursor() as cursor:
            cursor.execute('set statement_timeout = 200')
            try:
                cursor.execute('select pg_sleep(30)')
            except self.module.errors.QueryCanceled as error:
                return f'{n} {error.__class__.__name__}'
            finally:
                cursor.execute('set statement_timeout = 0')

    def add_one(self, n):
        """Reads and writes one row that every request wants, and waits while it holds it."""
        with contextlib.closing(self.module.connect(DSN)) as connection, connection.cursor() as cursor:
            cursor.execute('select value from counter for update')
            value = cursor.fetchone()[0]
            time.sleep(0.01)
            cursor.execute('update counter set value = %s', [value + 1])
            connection.commit()
        return n


def wait_in(connection, n):
    """A setting of the session is written before the wait and read after it: nobody else had it."""
    with connection.cursor() as cursor:
        cursor.execute("select set_config('app.request', %s, false)", [str(n)])
        cursor.execute('select pg_sleep(0.2)')
        cursor.execute("select current_setting('app.request'), pg_backend_pid()")
        return '{} {}'.format(*cursor.fetchone())


DRIVERS = {'psycopg2': Driver(psycopg2), 'psycopg': Driver(psycopg)}
application = serve({
    f'/{name}/{what}': getattr(driver, what)
    for name, driver in DRIVERS.items()
    for what in ('on_kept', 'on_new', 'on_shared', 'large', 'cancelled', 'add_one')
})
