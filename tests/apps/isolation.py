"""What each request must have to itself, looked at while many wait at once.

A route is a function of this module; its argument is the query, its result the body.
meet(name, n) waits until n requests stand there, so all of them are suspended at once.
"""
import contextvars
import ctypes
import decimal
import functools
import gc
import json
import sqlite3
import sys
import threading
import time
import weakref

import uwsgi

MEET_S = 25

local = threading.local()
variable = contextvars.ContextVar('variable', default='unset')
parties = {}
parties_lock = threading.Lock()
generators = {}
cycles = weakref.WeakSet()
released = threading.Event()


def meet(name, count):
    with parties_lock:
        party = parties.setdefault(name, threading.Barrier(count))
    party.wait(MEET_S)


def exceptions(own, count=50):
    try:
        raise KeyError(own)
    except KeyError as outer:
        meet('outer', count)
        try:
            raise ValueError(own)
        except ValueError as inner:
            meet('inner', count)
            assert inner.__context__ is outer
            assert sys.exc_info()[1] is inner
            try:
                raise
            except ValueError as again:
                assert again is inner
        meet('after', count)
        assert sys.exc_info()[1] is outer
    assert sys.exc_info() == (None, None, None)
    return own


def thread_local(own):
    local.value = own
    meet('local', 50)
    assert local.value == own
    return str(threading.get_ident())


def count_on_this_core(_):
    local.count = getattr(local, 'count', 0) + 1
    return f'{core()} {local.count}'


def context_variable(own):
    assert variable.get() == 'unset'
    variable.set(own)
    meet('context', 50)
    assert variable.get() == own
    copied = contextvars.copy_context()
    assert copied.run(variable.get) == own
    return own


def decimal_context(own):
    decimal.getcontext().prec = 10 + int(own)
    meet('decimal', 50)
    with decimal.localcontext() as context:
        context.prec = 5
        meet('decimal inside', 50)
        assert str(decimal.Decimal(1) / 7) == '0.14286'
    return str(decimal.Decimal(1) / 7)


def default_decimal_precision(_):
    return str(decimal.getcontext().prec)


def descend(levels, at_bottom):
    return at_bottom() if levels == 0 else descend(levels - 1, at_bottom)


def deep(own):
    descend(900, functools.partial(meet, 'deep', 20))
    return own


def deep_through_c(own):
    """Python calls C calls Python, 150 times over, with everyone waiting at the bottom."""
    def through_sort(levels):
        if levels == 0:
            meet('deep through c', 20)
            return 0
        return sorted([levels - 1], key=through_sort)[0]

    through_sort(150)
    return own


def endless(_):
    return endless(_)


def caught_endless(own):
    try:
        endless(own)
    except RecursionError:
        meet('caught', 20)
        return own


def endless_sort(_):
    return sorted([_], key=endless_sort)


def endless_json(_):
    nested = []
    for _ in range(100000):
        nested = [nested]
    return json.dumps(nested)


def endless_json_load(_):
    return str(len(json.loads('[' * 100000)))


def endless_callback(_):
    """ctypes reports the error of a callback and goes on: it ends with the deepest one."""
    levels = []

    @ctypes.CFUNCTYPE(None)
    def callback():
        levels.append(1)
        callback()

    callback()
    raise RecursionError(f'after {len(levels)} levels')


def endless_sql(_):
    connection = sqlite3.connect(':memory:')
    errors = []

    def again():
        try:
            return connection.execute('select again()').fetchone()[0]
        except (RecursionError, sqlite3.OperationalError) as error:  # The latter until 3.10, for what a function raises.
            errors.append(error)
            return 0

    connection.create_function('again', 0, again)
    again()
    raise RecursionError('in SQLite') from errors[0]


def endless_attribute(_):
    class Mirror:
        def __getattr__(self, name):
            return getattr(self, name + 'x')

    return Mirror().x


def traced(own):
    """Every second request traces; each must see its own calls only."""
    seen = []

    def trace(frame, event, _):
        if frame.f_code.co_name == 'inner':
            seen.append((event, frame.f_locals['whose']))
        return trace

    def inner(whose):
        meet('traced', 20)
        return whose

    if int(own) % 2:
        assert sys.gettrace() is None
        inner(own)
        assert sys.gettrace() is None
        return own
    sys.settrace(trace)
    try:
        inner(own)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(None)
    assert seen and {whose for _, whose in seen} == {own}, seen
    assert seen[0][0] == 'call' and seen[-1][0] == 'return'
    return own


def conversation(own):
    """A generator that yields from inside a handler, to go on in another request."""
    try:
        raise LookupError(own)
    except LookupError as error:
        yield 'started'
        assert sys.exc_info()[1] is error
        meet('resumed', 20)
        assert sys.exc_info()[1] is error
        yield own
    assert sys.exc_info()[1].args == ('resumer of ' + own,)
    yield 'ended'


def start_generator(own):
    generators[own] = conversation(own)
    return next(generators[own])


def resume_generator(own):
    try:
        raise RuntimeError('resumer of ' + own)
    except RuntimeError as error:
        answer = next(generators[own])
        assert sys.exc_info()[1] is error
        assert next(generators[own]) == 'ended'
    return answer


def hold_generator(_):
    def waits():
        yield released.wait(MEET_S)

    generators['held'] = waits()
    return str(next(generators['held']))


def disturb_generator(_):
    while not ('held' in generators and generators['held'].gi_running):
        time.sleep(0.001)
    try:
        next(generators['held'])
    except ValueError as error:
        return str(error)
    finally:
        released.set()


class Cycle:
    def __init__(self):
        self.myself = self
        cycles.add(self)


def hold_cycle(own):
    held = Cycle()
    Cycle()  # Garbage at once: the collector has work to do.
    meet('cycles', 201)
    released.wait(MEET_S)
    assert held.myself is held
    return own


def collect(_):
    """How many cycles a collection leaves while 200 requests hold one each."""
    meet('cycles', 201)
    gc.collect()
    alive = len(cycles)
    released.set()
    return str(alive)


def alive_cycles(_):
    gc.collect()
    return str(len(cycles))


def uwsgi_state(own):
    before = uwsgi.connection_fd(), uwsgi.request_id(), core()
    uwsgi.set_logvar('own', own)
    meet('uwsgi', 50)
    assert uwsgi.env['QUERY_STRING'] == own
    assert uwsgi.get_logvar('own') in (own, own.encode())
    assert (uwsgi.connection_fd(), uwsgi.request_id(), core()) == before
    return str(core())


def core():
    return uwsgi.env['uwsgi.core']


def hello(_):
    return 'hello'


def application(environ, start_response):
    body = globals()[environ['PATH_INFO'][1:]](environ['QUERY_STRING']).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
