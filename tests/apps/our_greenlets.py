"""Greenlets of the module that --greenlet gives."""
import asyncio
import contextvars
import ctypes
import gc
import os
import sys
import threading
import time
import traceback
import weakref

import greenlet
import uwsgi
import uwsgi_tornado
from greenlet import GreenletExit, getcurrent

loop = asyncio.get_event_loop()
loops_greenlet = getcurrent()
seen = []
local = threading.local()
variable = contextvars.ContextVar('variable', default='unset')
kept = {}


class Counter(greenlet.greenlet):
    def run(self, step):
        total = 0
        while True:
            total += step
            step = self.parent.switch(total)


def names(n):
    import greenlet as again
    import greenlet._greenlet as inner
    from greenlet import (  # noqa: F401
        GreenletExit, __version__, error, getcurrent, gettrace, greenlet as kind, settrace)
    return again.__name__, inner.greenlet is kind, __version__, hasattr(again, '__file__')


def parents(n):
    me = getcurrent()
    return me.parent is loops_greenlet, me.parent.parent, bool(me), me.dead


def waits_for_loop(n):
    """The seed program's shape: suspended until a callback of the loop switches back."""
    me = getcurrent()
    loop.call_later(0.05, me.switch, n)
    return me.parent.switch()


def answers(n):
    """What the request says to the loop's switch() as it waits again."""
    me = getcurrent()
    said = []

    def callback():
        said.append(me.switch('first'))
        said.append(me.switch('second'))
        said.append(me.dead)

    loop.call_soon_threadsafe(callback)
    one = me.parent.switch()
    two = me.parent.switch('between', key=1)
    time.sleep(0.01)
    return one, two, said


def thrown(n):
    me = getcurrent()
    loop.call_soon_threadsafe(me.throw, ValueError, 'from the loop')
    try:
        me.parent.switch()
    except ValueError as error:
        return error


def child_waits(n):
    """A greenlet of the request goes to the loop; the loop goes on in another of the request's."""
    me = getcurrent()

    def child():
        return 'child ' + me.parent.switch()

    waiting = greenlet.greenlet(child)
    loop.call_soon_threadsafe(waiting.switch, 'was meant')
    first = waiting.switch()
    waiting = greenlet.greenlet(child)
    loop.call_soon_threadsafe(me.switch, 'main was meant')
    return first, waiting.switch(), waiting.dead


def sleeps(n):
    """The whole request waits while one of its greenlets does."""
    ident = threading.get_ident()

    def child():
        local.n = n
        time.sleep(0.2)
        return threading.get_ident() == ident, local.n

    return greenlet.greenlet(child).switch() + (local.n,)


def meet(n):
    kept['meet'] = getcurrent()
    return getcurrent().parent.switch()


def wake(n):
    while 'meet' not in kept:
        time.sleep(0.001)
    return kept.pop('meet').switch('hello')


def not_waiting(n):
    me = getcurrent()
    results = []

    def callback():
        try:
            me.switch()
        except greenlet.error as error:
            results.append(error)

    loop.call_soon_threadsafe(callback)
    while not results:
        time.sleep(0.001)
    return results[0]


def late(n):
    """A callback that comes after the request's end finds its greenlet dead."""
    me = getcurrent()
    kept['late'] = me, []
    loop.call_soon_threadsafe(loop.call_later, 0.02, lambda: kept['late'][1].append((me.dead, me.switch(7))))


def was_late(n):
    while not kept['late'][1]:
        time.sleep(0.001)
    return kept.pop('late')[1]


def forbidden(n):
    me = getcurrent()
    with uwsgi_tornado.no_suspend():
        try:
            me.parent.switch()
        except RuntimeError as error:
            return error


def others(n):
    """Greenlets of another request, and of another thread, are refused."""
    refused = []

    def attempt(target):
        try:
            target.switch()
        except greenlet.error as error:
            refused.append(str(error))

    thread = threading.Thread(target=attempt, args=(getcurrent(),))
    thread.start()
    thread.join()
    here, done = threading.Event(), threading.Event()

    def other():
        kept['other'] = greenlet.greenlet(lambda: None)
        here.set()
        done.wait()

    uwsgi_tornado.spawn(other)
    here.wait()
    attempt(kept.pop('other'))
    done.set()
    return refused


def contexts(n):
    variable.set('request')
    inherited = greenlet.greenlet(lambda: variable.get()).switch()
    given = greenlet.greenlet(lambda: variable.get())
    given.gr_context = contextvars.copy_context()
    return inherited, given.switch(), variable.get()


def leave(n):
    """Leaves `n` greenlets in the middle of their work, in frames that refer to themselves."""
    def body():
        me = getcurrent()
        try:
            me.parent.switch()
        finally:
            time.sleep(0.001)
            seen.append((threading.get_ident(), me.dead))

    for _ in range(n):
        greenlet.greenlet(body).switch()
    kept['left'] = greenlet.greenlet(body)
    kept['left'].switch()
    seen.append(('request', threading.get_ident()))


def left(n):
    while len(seen) < n + 1:  # Their request may not have ended yet, though it was answered.
        time.sleep(0.001)
    owner = next(ident for name, ident in seen if name == 'request')
    ended = [entry for entry in seen if entry[0] != 'request']
    result = len(ended), all(ident == owner for ident, _ in ended)
    seen.clear()
    kept.clear()
    return result


def stays(n):
    """Waits with an unfinished greenlet that another request collects."""
    ended = []

    def body():
        try:
            getcurrent().parent.switch()
        finally:
            ended.append(threading.get_ident())

    kept['stays'] = greenlet.greenlet(body)
    kept['stays'].switch()
    while not kept.pop('looked', False):
        time.sleep(0.001)
    before = len(ended)
    getcurrent()  # As with threads: its own are ended when it next asks.
    return before, ended == [threading.get_ident()]


def collect(n):
    while 'stays' not in kept:
        time.sleep(0.001)
    gone = weakref.ref(kept.pop('stays'))
    gc.collect()
    is_gone = gone() is None
    kept['looked'] = True
    return is_gone


def on_loop(n):
    """Greenlets of the loop's own: SQLAlchemy's asyncio side makes such."""
    async def task():
        counter = Counter()
        kept['loops'] = counter
        return [counter.switch(2), counter.switch(3), getcurrent() is loops_greenlet]

    return uwsgi_tornado.await_(task())


def with_sqlalchemy(n):
    """SQLAlchemy runs its plain code in a greenlet of the loop's, which awaits in its parent."""
    from sqlalchemy.util.concurrency import await_only, greenlet_spawn

    def plain():
        await_only(asyncio.sleep(0.05))
        return variable.get(), await_only(asyncio.sleep(0.001, n))

    async def task():
        return await greenlet_spawn(plain)

    variable.set('request')
    return uwsgi_tornado.await_(task())


def in_a_thread(n):
    """A thread of Python's has greenlets of its own, which end with it."""
    said = []

    def body():
        try:
            said.append(getcurrent().parent.switch())
        finally:
            said.append(threading.get_ident() == said[0])

    def thread():
        said.append(threading.get_ident())
        kept['thread'] = greenlet.greenlet(body)
        kept['thread'].switch()

    other = threading.Thread(target=thread)
    other.start()
    other.join()
    return said[1:], kept.pop('thread').dead


def forks(n):
    """A child of the worker has the greenlet that forked; the others stayed behind."""
    def body():
        getcurrent().parent.switch()

    behind = greenlet.greenlet(body)
    behind.switch()
    reader, writer = os.pipe()

    def forks_here():
        pid = os.fork()
        if pid == 0:
            try:
                said = [behind.dead, bool(behind), getcurrent().dead, greenlet.greenlet(lambda: 'new').switch()]
                behind.switch()
            except greenlet.error as error:
                said.append(str(error))
            os.write(writer, repr(said).encode())
            os._exit(0)
        return pid

    os.waitpid(greenlet.greenlet(forks_here).switch(), 0)
    os.close(writer)
    with open(reader) as pipe:
        return pipe.read(), behind.dead


def stubborn(n):
    """Catches GreenletExit again and again; its request ends all the same."""
    def body():
        while True:
            try:
                getcurrent().parent.switch()
            except GreenletExit:
                seen.append('exit')
                if len(seen) > 2:
                    return

    kept['stubborn'] = greenlet.greenlet(body)
    kept['stubborn'].switch()


def was_stubborn(n):
    while not kept['stubborn'].dead:
        time.sleep(0.001)
    result = list(seen), kept.pop('stubborn').dead
    seen.clear()
    return result


def deep(n):
    """Recursion inside a greenlet has the limit to itself and ends in RecursionError."""
    def dive(depth):
        return dive(depth + 1)

    def child():
        try:
            dive(0)
        except RecursionError:
            return 'recursion'

    return greenlet.greenlet(child).switch()


def frames(n):
    def stands_here():
        getcurrent().parent.switch()

    child = greenlet.greenlet(stands_here)
    child.switch()
    frame = child.gr_frame
    return frame.f_code.co_name, getcurrent().gr_frame, greenlet.greenlet().gr_frame


def of_its_thread(n):
    """What Python keeps of the request's thread, as its greenlet finds it, and what of the greenlet's the request finds."""
    local.n = n
    events = []
    sys.setprofile(lambda frame, event, argument: events.append(frame.f_code.co_name))

    def child():
        found = local.n, sys.getprofile() is not None
        local.of_child = n
        return found

    try:
        found = greenlet.greenlet(child).switch()
    finally:
        sys.setprofile(None)
    return found, local.of_child, 'child' in events


async def _running_in_greenlet(own_loop):
    task = asyncio.current_task()

    def child():
        return asyncio.get_running_loop() is own_loop, asyncio.current_task() is task

    found = greenlet.greenlet(child).switch()
    await asyncio.sleep(0)
    return found, asyncio.get_running_loop() is own_loop, asyncio.current_task() is task


def of_asyncio(n):
    """The running loop and task, as a greenlet finds them, of the worker's loop and of the request's own."""
    own = asyncio.new_event_loop()
    try:
        return uwsgi_tornado.await_(_running_in_greenlet(loop)), own.run_until_complete(_running_in_greenlet(own))
    finally:
        own.close()


def traced(n):
    events = []
    greenlet.settrace(lambda event, args: events.append(event))
    try:
        child = greenlet.greenlet(lambda: getcurrent().parent.switch())
        child.switch()
        child.throw()
    finally:
        greenlet.settrace(None)
    return events


class Stop(Exception):
    pass


def raise_in_this_thread():
    ident = ctypes.c_ulong(threading.get_ident())
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Stop)) == 1
    for _ in range(1000):
        pass


def stopped():
    try:
        raise_in_this_thread()
    except Stop:
        return True
    return False


def asynchronous(n):
    """Where an exception that is raised in this thread comes, while it has greenlets that have ended and that wait."""
    waits = []

    def waiting():
        waits.append(stopped())
        getcurrent().parent.switch()
        waits.append(stopped())
        return 'ended'

    ended, waiting_one, waiting_two = greenlet.greenlet(stopped), greenlet.greenlet(waiting), greenlet.greenlet(waiting)
    waiting_one.switch()
    waiting_two.switch()
    results = [ended.switch(), stopped(), waiting_one.switch(), stopped(), waiting_two.switch(), stopped()]
    return results, waits


def timed(n):
    """Whether the deadline that every second request has ends it, where it waits by a yield; all have greenlets that are suspended."""
    suspended, ended = Counter(), greenlet.greenlet(int)
    suspended.switch(1)
    ended.switch()
    if n % 2:
        uwsgi.env['uwsgi_tornado.timeout'] = 0.1
    try:
        for _ in range(30):
            uwsgi.async_sleep(0.02)
            yield b''
            suspended.switch(1)
        yield b'through'
    except uwsgi_tornado.RequestTimeout:
        yield b'told'


def many(n):
    """A hundred greenlets, each in the middle of something, beside those of other requests."""
    counters = [Counter() for _ in range(100)]
    totals = [counter.switch(n) for counter in counters]
    time.sleep(0.01)
    for round in range(3):
        totals = [counter.switch(n + round) for counter in counters]
        time.sleep(0.001)
    return set(totals) == {n + sum(n + round for round in range(3))}


def computes(n):
    """Gives way in the middle of greenlets."""
    def body(total=0):
        while True:
            number = getcurrent().parent.switch(total)
            for i in range(300):
                total += number * i % 7

    child = greenlet.greenlet(body)
    child.switch()
    for i in range(300):
        total = child.switch(n + i)
    return total


def errors(n):
    """The error of a greenlet comes out of the switch of its parent, which may be any."""
    def fails():
        raise KeyError(n)

    def middle():
        greenlet.greenlet(fails).switch()

    try:
        greenlet.greenlet(middle).switch()
    except KeyError:
        return [frame.name for frame in traceback.extract_tb(sys.exc_info()[2])]


def speed(n):
    def body():
        switch = getcurrent().parent.switch
        while True:
            switch()

    child = greenlet.greenlet(body)
    switch = child.switch
    switch()
    begin = time.perf_counter()
    for _ in range(n):
        switch()
    pair = (time.perf_counter() - begin) / n
    nothing = lambda: None
    begin = time.perf_counter()
    for _ in range(n):
        greenlet.greenlet(nothing).switch()
    return f'{pair * 1e9:.0f} ns a pair, {(time.perf_counter() - begin) / n * 1e9:.0f} ns to make and run one'


ROUTES = {function.__name__: function for function in (
    names, parents, waits_for_loop, answers, thrown, child_waits, sleeps, meet, wake, not_waiting, late, was_late,
    forbidden, others, contexts, leave, left, stays, collect, on_loop, with_sqlalchemy, in_a_thread, forks,
    stubborn, was_stubborn, deep, frames, of_its_thread, of_asyncio, traced, asynchronous, many, computes,
    errors, speed)}


def application(environ, start_response):
    if environ['PATH_INFO'] == '/timed':
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return timed(int(environ['QUERY_STRING']))
    body = repr(ROUTES[environ['PATH_INFO'][1:]](int(environ['QUERY_STRING'] or 0))).encode()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
