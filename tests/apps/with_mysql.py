"""MariaDB with mysqlclient (C) and PyMySQL, as an app for threads would use them."""
import contextlib
import os
import threading
import time

import MySQLdb
import pymysql

from router import serve

SERVER = {'host': '127.0.0.1', 'port': int(os.environ['MARIADB_PORT']), 'user': 'root'}
local = threading.local()


class Driver:
    def __init__(self, module):
        self.module = module

    def connect(self):
        connection = self.module.connect(**SERVER)
        connection.autocommit(True)
        return connection

    def on_kept(self, n):
        """On the connection of this thread."""
        name = self.module.__name__
        if not hasattr(local, name):
            setattr(local, name, self.connect())
        return f'{wait_in(getattr(local, name), n)} {threading.get_ident()}'

    def on_new(self, n):
        with contextlib.closing(self.connect()) as connection:
            return wait_in(connection, n)

    def large(self, n):
        with contextlib.closing(self.connect()) as connection:
            text = one_row(connection, 'select repeat(%s, 1000000), sleep(0.05)', str(n % 10))[0]
        return f'{n} {len(text)} {set(text)}'

    def refused(self, n):
        with contextlib.closing(self.connect()) as connection:
            try:
                one_row(connection, "select sleep(0.2) from nowhere.at_all where 1 = %s", n)
            except self.module.Error as error:
                return f'{n} {error.args[0]}'

    def add_one(self, n):
        """Reads and writes one row that every request wants, and waits while it holds it."""
        with contextlib.closing(self.connect()) as connection:
            connection.autocommit(False)
            value = one_row(connection, 'select value from test.counter for update')[0]
            time.sleep(0.01)
            with contextlib.closing(connection.cursor()) as cursor:
                cursor.execute('update test.counter set value = %s', [value + 1])
            connection.commit()
        return n


def one_row(connection, statement, *values):
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchone()


def wait_in(connection, n):
    """A variable of the session is written before the wait and read after it: nobody else had it."""
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute('set @request = %s', [n])
    one_row(connection, 'select sleep(0.2)')
    return '{} {}'.format(*one_row(connection, 'select @request, connection_id()'))


application = serve({
    f'/{name}/{what}': getattr(Driver(module), what)
    for name, module in (('mysqlclient', MySQLdb), ('pymysql', pymysql))
    for what in ('on_kept', 'on_new', 'large', 'refused', 'add_one')
})
