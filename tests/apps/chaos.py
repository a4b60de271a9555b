"""Random programs of waits, each with canaries in all that is to be one request's alone.

GET /run?SEED.NUMBER answers "NUMBER committed ROWS" where all was its own to the end. Some are given too little
time and are ended where they wait: they answer "NUMBER interrupted ROWS", or let it out. A canary that another
has moved, and anything not expected, is a 500.
"""
import collections
import contextlib
import contextvars
import decimal
import gc
import itertools
import json
import os
import random
import sys
import threading
import time
import traceback

import psycopg2
import uwsgi
import uwsgi_tornado

import canaries
import chaos_faults
from chaos_waits import WAITS, WEIGHTS, feeder, pool

DSN = os.environ.get('DSN')
DEPTH = 3
WAIT_S = 0.3  # At most, each.
DATABASE_CONNECTIONS = 80

variable = contextvars.ContextVar('variable', default=None)
local = threading.local()
# The database takes fewer connections than there are requests.
database_slots = threading.BoundedSemaphore(DATABASE_CONNECTIONS)


worker = os.getpid()
running = 0  # Requests.
wrong = []  # In a real thread.


class Wrong(Exception):
    """Something of another's was seen."""


class Program:
    def __init__(self, seed, own, environ):
        self.random = random.Random(f'{seed} {own}')
        self.own, self.environ = own, environ
        self.fd, self.ident = uwsgi.connection_fd(), threading.get_ident()
        self.handled, self.context, self.precision = [], own, 10 + own % 50
        self.rows = 0

    def run(self):
        if variable.get() is not None or getattr(local, 'own', None) is not None or sys.exc_info() != (None, None, None):
            raise Wrong(f'{self.own} began with {variable.get()}, {vars(local)}, {sys.exc_info()}')
        variable.set(self.own)
        local.own = self.own
        with decimal.localcontext() as context:
            context.prec = self.precision
            try:
                self.block(DEPTH)
            finally:
                self.check()
                local.own = None

    def check(self):
        error = sys.exc_info()[1]
        seen = {'context': variable.get(), 'thread-local': local.own, 'decimals': len(str(decimal.Decimal(1) / 7)) - 2,
                'ident': threading.get_ident(), 'fd': uwsgi.connection_fd(),
                'environ': (uwsgi.env is self.environ, uwsgi.env['QUERY_STRING'].split('.')[1]),
                'handled': error and error.args if self.handled else ()}
        mine = {'context': self.context, 'thread-local': self.own, 'decimals': self.precision, 'ident': self.ident, 'fd': self.fd,
                'environ': (True, str(self.own)), 'handled': self.handled[-1] if self.handled else ()}
        if seen != mine:
            raise Wrong(f'{self.own}: {seen} instead of {mine}')

    # --- Parts of a program ---

    def block(self, depth):
        for _ in range(self.random.randint(1, 3)):
            part = self.random.choices(self.PARTS, self.PART_WEIGHTS)[0] if depth > 0 else Program.wait
            part(self, depth - 1)
            self.check()

    def wait(self, _=0):
        name = self.random.choices(list(WAITS), WEIGHTS)[0]
        delay_s = self.random.random() ** 2 * WAIT_S
        got = WAITS[name](self.own, delay_s)
        self.check()
        if got != self.own:
            raise Wrong(f'{self.own} waited for {name} and got {got!r}')

    def handler(self, depth):
        label = (self.own, len(self.handled))
        try:
            raise ValueError(*label)
        except ValueError as error:
            self.handled.append(label)
            try:
                self.block(depth)
                if sys.exc_info()[1] is not error:
                    raise Wrong(f'{self.own} handles {sys.exc_info()[1]!r} instead of {error!r}') from None
            finally:
                self.handled.pop()

    def finally_(self, depth):
        with contextlib.suppress(KeyError):
            try:
                raise KeyError(self.own)
            finally:
                self.handled.append((self.own,))
                try:
                    self.block(depth)
                finally:
                    self.handled.pop()

    def generator(self, depth):
        def produce():
            handled = self.handled
            try:
                raise LookupError(self.own)
            except LookupError:
                for number in range(2):
                    self.handled = [*handled, (self.own,)]
                    try:
                        self.wait()
                    finally:
                        self.handled = handled
                    yield number

        for _ in produce():
            self.block(depth)

    def call_back(self, depth):
        sorted([0, 1], key=lambda number: (self.block(depth) if number else self.wait(), number)[1])

    def decimals(self, depth):
        before = self.precision
        with decimal.localcontext() as context:
            self.precision = context.prec = self.random.randint(5, 60)
            try:
                self.block(depth)
            finally:
                self.precision = before

    def another_context(self, depth):
        before = self.context

        def inside():
            self.context = self.own + self.random.random()
            variable.set(self.context)
            self.block(depth)

        try:
            contextvars.copy_context().run(inside)
        finally:
            self.context = before

    def dies(self, _):
        """Objects whose finalisers wait, and whose exceptions are for nobody."""
        class Dying:
            def __del__(dying):
                if os.getpid() == worker:  # A child ends the threads it does not have, whose locks nobody frees there.
                    self.wait()
                raise RuntimeError('in __del__')

        class Collected:  # Wherever the collector runs: in another request, or in a thread.
            def __init__(self):
                self.cycle = self

            def __del__(self):
                time.sleep(0.002)
                raise RuntimeError('in __del__')

        Dying()
        Collected()
        gc.collect(0)

    def leaves_a_thread(self, _):
        pool.submit(time.sleep, 0.02)
        feeder.later(0.05, lambda: None)

    def shielded(self, depth):
        with uwsgi_tornado.shield():
            for _ in range(2):
                self.wait()

    def swallows(self, depth):
        """Is told, and goes on as if nothing was: the next wait tells again."""
        with contextlib.suppress(uwsgi_tornado.RequestInterrupted):
            self.block(depth)

    def transaction(self, depth):
        with database_slots, contextlib.closing(psycopg2.connect(DSN)) as connection, connection.cursor() as cursor:
            marks = [self.random.randrange(10**9) for _ in range(self.random.randint(1, 3))]
            for mark in marks:
                cursor.execute('insert into canary values (%s, %s) returning request, mark', (self.own, mark))
                if cursor.fetchall() != [(self.own, mark)]:
                    raise Wrong(f"{self.own} got another's row")
                if self.random.random() < 0.5:
                    self.wait()
            cursor.execute('select pg_sleep(%s), request, mark from canary where request = %s',
                           (self.random.random() * 0.05, self.own))
            if not {(self.own, mark) for mark in marks} <= {row[1:] for row in cursor.fetchall()}:
                raise Wrong(f'{self.own} does not find its rows')
            if self.random.random() < 0.7:
                connection.commit()
                self.rows += len(marks)
            else:
                connection.rollback()

    def native(self, _):
        """A canary of C++ or Rust, with a wait in the middle."""
        name = self.random.choice(list(canaries.CALLS))
        # One that holds a lock waits briefly: the others wait for it.
        wait = self.wait if name.startswith('local_') else lambda: time.sleep(0.001)
        errors = []

        @canaries.on_wait
        def wait_inside():
            try:
                wait()
            except BaseException as error:  # No exception goes through C; the first one goes on after it.
                errors.append(error)

        got = canaries.CALLS[name](self.own, wait_inside)
        if errors:
            raise errors[0]
        if got != self.own:
            raise Wrong(f'{self.own} ran {name} and got {got}')

    PARTS = [wait, handler, finally_, generator, call_back, decimals, another_context, dies, leaves_a_thread, shielded,
             swallows] + [transaction] * bool(DSN) + [native] * bool(canaries.CALLS)
    PART_WEIGHTS = [6, 3, 2, 2, 2, 2, 2, 1, 1, 1, 1] + [2] * bool(DSN) + [4] * bool(canaries.CALLS)


# --- What may come of one ---


def after_the_interruption(program):
    """It is told at each wait; a shield keeps it off; nothing else is touched."""
    with uwsgi_tornado.shield():
        time.sleep(0.001)
    try:
        time.sleep(60)
    except uwsgi_tornado.RequestInterrupted:
        return
    raise Wrong(f'{program.own} is interrupted and slept')


def is_interrupted():
    """A C library made an error of its own of the interruption: the next wait tells."""
    try:
        time.sleep(0.001)
    except uwsgi_tornado.RequestInterrupted:
        return True
    return False


def run(environ):
    seed, number = environ['QUERY_STRING'].split('.')
    program = Program(seed, int(number), environ)
    catches = program.random.random() < 0.5
    if program.random.random() < 0.3:
        environ['uwsgi_tornado.timeout'] = program.random.uniform(0.001, 1)
    how = 'committed'
    try:
        with chaos_faults.wrap():
            program.run()
    except Wrong:
        raise
    except BaseException as error:
        if not isinstance(error, uwsgi_tornado.RequestInterrupted) and not is_interrupted():
            raise
        after_the_interruption(program)
        if not catches:
            raise uwsgi_tornado.RequestTimeout(f'let out by {number}') from error
        how = 'interrupted'
    return f'{number} {how} {program.rows}'


def report(environ):
    for name in ('last_type', 'last_value', 'last_traceback', 'last_exc'):  # What was printed last, with all its frames.
        vars(sys).pop(name, None)
    gc.collect()
    live = getattr(uwsgi_tornado, '_live', dict)()
    total = getattr(sys, 'gettotalrefcount', int)()
    kinds = collections.Counter(type(found).__name__ for found in gc.get_objects())
    return json.dumps({'running': running, 'objects': kinds, 'live': live, 'references': total,
                       'threads': threading.active_count(), 'wrong': wrong,
                       'faults': chaos_faults.seen, 'blocked': uwsgi_tornado.blocking_report()['blocked']})


def stacks(environ):
    """Where everybody is: for whoever looks for what hangs."""
    return '\n'.join(f'{ident}\n{"".join(traceback.format_stack(frame))}' for ident, frame in sys._current_frames().items()
                     if ident != threading.get_ident())


# --- Beside the requests ---


def disturb():
    """A real thread that takes the GIL, the collector and the locks."""
    for number in itertools.count():
        # Asked this often, it seldom comes to collect by itself, and never the oldest: a request's garbage would stay for good.
        gc.collect(1 if number % 100 else 2)
        sum(range(10000))
        time.sleep(0.05)


def unraisable(unraisable):
    error = unraisable.exc_value
    if str(error) not in ('in __del__', 'in a callback') and not isinstance(error, uwsgi_tornado.RequestInterrupted):
        sys.__unraisablehook__(unraisable)


def run_canaries():
    """A real thread that runs those of the native libraries."""
    waits = [canaries.on_wait(lambda: time.sleep(0.001)), canaries.on_wait(lambda: None)]
    names = [name for name in canaries.CALLS if not name.startswith('once_')]  # Those are made by requests.
    for own in itertools.count(10**9):
        wrong.extend(canaries.run(own, lambda index: waits[index % 2], names))
        time.sleep(0.1)


sys.unraisablehook = unraisable
list(pool.map(time.sleep, [0.02] * 8))  # All its threads.
threading.Thread(target=disturb, daemon=True).start()
if canaries.CALLS:
    threading.Thread(target=run_canaries, daemon=True).start()


def application(environ, start_response):
    global running
    running += 1
    try:
        body = {'/run': run, '/report': report, '/stacks': stacks}[environ['PATH_INFO']](environ).encode()
    finally:
        running -= 1
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
