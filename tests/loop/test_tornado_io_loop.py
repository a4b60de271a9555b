"""uwsgi_tornado.IOLoop and PeriodicCallback; Tornado's own as the reference."""
import asyncio
import concurrent.futures
import datetime
import logging
import os
import socket
import threading
import time

import pytest
import tornado.ioloop
import uwsgi_tornado

FACES = {'tornado': tornado.ioloop, 'ours': uwsgi_tornado}
pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')


@pytest.fixture(params=FACES)
def face(request):
    return FACES[request.param]


@pytest.fixture
def io_loop(face):
    """The current IOLoop of this thread, closed in the end."""
    asyncio.set_event_loop(None)
    made = face.IOLoop(make_current=False)
    made.make_current()
    yield made
    if not made.asyncio_loop.is_closed():
        made.asyncio_loop.run_until_complete(made.asyncio_loop.shutdown_default_executor())
        made.close()
    asyncio.set_event_loop(None)


@pytest.fixture
def logged():
    """What callbacks raised: (level, message, type) of each line. pytest's caplog would keep the frames."""
    class Handler(logging.Handler):
        def emit(self, record):
            lines.append((record.levelname, record.getMessage(), record.exc_info[0]))
    lines, handler, logger = [], Handler(), logging.getLogger('tornado.application')
    logger.addHandler(handler)
    logger.propagate = False
    yield lines
    logger.propagate = True
    logger.removeHandler(handler)


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def run_until(io_loop, condition):
    """Runs the loop until condition() holds."""
    def look():
        if condition():
            io_loop.stop()
        else:
            io_loop.call_later(0.001, look)
    io_loop.add_callback(look)
    give_up = io_loop.call_later(10, io_loop.stop)
    io_loop.start()
    io_loop.remove_timeout(give_up)
    assert condition()


# --- Callbacks and timers ------------------------------------------------------------------------

def test_callbacks_run_in_order_with_their_arguments(io_loop):
    seen = []
    io_loop.add_callback(seen.append, 1)
    io_loop.add_callback(lambda *args, **kwargs: seen.append((args, kwargs)), 2, three=3)
    io_loop.spawn_callback(seen.append, 4)
    io_loop.add_callback_from_signal(seen.append, 5)
    io_loop.add_callback(callback=io_loop.stop)
    io_loop.start()
    assert seen == [1, ((2,), {'three': 3}), 4, 5]


def test_a_callback_of_a_callback_runs_in_the_next_turn(io_loop):
    seen = []
    io_loop.add_callback(lambda: (io_loop.add_callback(seen.append, 'later'), seen.append('first')))
    io_loop.add_callback(seen.append, 'second')
    run_until(io_loop, lambda: 'later' in seen)
    assert seen == ['first', 'second', 'later']


def test_callbacks_come_from_any_thread(io_loop):
    seen = []
    thread = threading.Thread(target=lambda: io_loop.add_callback(lambda: (seen.append(threading.current_thread()), io_loop.stop())))
    io_loop.add_callback(thread.start)
    io_loop.start()
    thread.join()
    assert seen == [threading.current_thread()]


def test_stop_before_start_ends_it_at_once(io_loop):
    io_loop.stop()
    io_loop.start()


@pytest.mark.parametrize('deadline', [lambda: time.time() + 0.02, lambda: datetime.timedelta(seconds=0.02), lambda: 0, lambda: -5])
def test_a_timeout_comes_once_and_not_before_its_deadline(io_loop, deadline):
    seen, when = [], deadline()
    started = time.time()
    io_loop.add_timeout(when, seen.append, 'due')
    run_until(io_loop, lambda: seen)
    assert seen == ['due']
    assert time.time() - started >= 0.02 - 0.001 or when in (0, -5)


def test_call_later_and_call_at_count_as_the_loops_clock(io_loop):
    seen = []
    assert abs(io_loop.time() - time.time()) < 1
    io_loop.call_at(io_loop.time() + 0.02, seen.append, 'second')
    io_loop.call_later(0.01, seen.append, 'first')
    run_until(io_loop, lambda: len(seen) == 2)
    assert seen == ['first', 'second']


def test_a_removed_timeout_does_not_come_and_may_be_removed_again(io_loop):
    seen = []
    removed = io_loop.add_timeout(datetime.timedelta(milliseconds=5), seen.append, 'removed')
    kept = io_loop.call_later(0.01, seen.append, 'kept')
    io_loop.remove_timeout(removed)
    io_loop.remove_timeout(removed)
    run_until(io_loop, lambda: seen)
    io_loop.remove_timeout(kept)
    assert seen == ['kept']


@pytest.mark.parametrize('deadline', ['soon', None, object()])
def test_a_deadline_of_another_type_is_an_error(io_loop, deadline):
    with pytest.raises(TypeError, match='Unsupported deadline'):
        io_loop.add_timeout(deadline, print)


def test_a_missing_callback_is_an_error(io_loop):
    for call in (io_loop.add_callback, lambda: io_loop.call_later(1), lambda: io_loop.add_timeout(1)):
        with pytest.raises(TypeError, match='callback'):
            call()


# --- What callbacks raise and return --------------------------------------------------------------

async def fails():
    await asyncio.sleep(0)
    raise ValueError('of a coroutine')


def raises():
    raise ValueError('of a callback')


@pytest.mark.parametrize('callback', [raises, fails])
@pytest.mark.parametrize('add', ['add_callback', 'call_later'])
def test_exceptions_of_callbacks_go_to_the_log_and_not_further(io_loop, logged, callback, add):
    add = io_loop.add_callback if add == 'add_callback' else lambda callback: io_loop.call_later(0, callback)
    add(callback)
    run_until(io_loop, lambda: logged)
    (level, message, error), = logged
    assert (level, error) == ('ERROR', ValueError) and message.startswith('Exception in callback functools.partial(<')


def test_cancelled_callbacks_are_not_logged(io_loop, logged):
    def cancelled():
        raise asyncio.CancelledError
    seen = []
    io_loop.add_callback(cancelled)
    io_loop.add_callback(seen.append, 1)
    run_until(io_loop, lambda: seen)
    assert not logged


def test_other_results_are_ignored(io_loop, logged):
    seen = []
    for result in (1, 'text', [1], object()):
        io_loop.add_callback(lambda result=result: result)
    io_loop.add_callback(seen.append, 1)
    run_until(io_loop, lambda: seen)
    assert not logged


def test_callbacks_that_return_futures_are_awaited(io_loop, logged):
    failed = concurrent.futures.Future()
    failed.set_exception(KeyError('concurrent'))
    io_loop.add_callback(lambda: failed)
    run_until(io_loop, lambda: logged)
    assert logged[0][2] is KeyError


# --- Futures and executors ------------------------------------------------------------------------

@pytest.mark.parametrize('make', [lambda loop: loop.asyncio_loop.create_future(), lambda loop: concurrent.futures.Future()])
def test_add_future_calls_on_the_loop_once_it_is_done(io_loop, make):
    seen, future = [], make(io_loop)
    io_loop.add_future(future, lambda done: seen.append((done is future, done.result())))
    future.set_result(42)
    assert seen == []
    run_until(io_loop, lambda: seen)
    assert seen == [(True, 42)]


def test_add_future_takes_nothing_else(io_loop):
    coroutine = fails()
    for what in (coroutine, 3):
        with pytest.raises((AssertionError, TypeError)):
            io_loop.add_future(what, print)
    coroutine.close()


def test_run_in_executor_uses_the_loops_or_the_given_one(io_loop):
    async def main():
        first = await io_loop.run_in_executor(None, threading.get_ident)
        with concurrent.futures.ThreadPoolExecutor(1, 'given') as executor:
            second = await io_loop.run_in_executor(executor, lambda text: (text, threading.current_thread().name), 'argument')
        io_loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1, 'default'))
        return first, second, await io_loop.run_in_executor(None, lambda: threading.current_thread().name)
    first, second, third = io_loop.run_sync(main)
    assert first != threading.get_ident()
    assert second == ('argument', 'given_0') and third == 'default_0'


# --- run_sync -------------------------------------------------------------------------------------

def test_run_sync_returns_and_raises(io_loop):
    async def add(a, b):
        await asyncio.sleep(0.001)
        return a + b
    assert io_loop.run_sync(lambda: add(1, 2)) == 3
    assert io_loop.run_sync(lambda: None) is None
    with pytest.raises(ValueError, match='of a coroutine'):
        io_loop.run_sync(fails)
    with pytest.raises(ValueError, match='of a callback'):
        io_loop.run_sync(raises)
    with pytest.raises(Exception, match='3'):
        io_loop.run_sync(lambda: 3)


def test_run_sync_cancels_at_its_timeout(io_loop):
    ended = []

    async def endless():
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(True)
    with pytest.raises(asyncio.TimeoutError, match='Operation timed out after 0.5 seconds'):
        io_loop.run_sync(endless, timeout=0.5)  # By when it has begun, or nothing of it would run.
    assert ended == [True]


def test_run_sync_on_the_running_loop_is_an_error(io_loop):
    async def inner():
        with pytest.raises(RuntimeError, match='already running'):
            io_loop.run_sync(fails)
    io_loop.run_sync(inner)


# --- Handlers -------------------------------------------------------------------------------------

def test_a_handler_gets_what_was_given_and_the_event(face, io_loop, pair):
    ours, theirs = pair
    for given in (ours, ours.fileno()):
        seen = []
        io_loop.add_handler(given, lambda *args: (seen.append(args), ours.recv(10)), face.IOLoop.READ)
        theirs.send(b'1')
        run_until(io_loop, lambda: seen)
        assert seen == [(given, face.IOLoop.READ)]
        io_loop.remove_handler(given)


def test_handlers_are_updated(face, io_loop, pair):
    ours, theirs = pair
    seen = []
    theirs.send(b'1')
    io_loop.add_handler(ours, lambda fd, events: seen.append(events), face.IOLoop.NONE)
    for events, expected in ((io_loop.WRITE, {4}), (io_loop.READ, {1}), (io_loop.READ | io_loop.WRITE, {1, 4})):
        io_loop.update_handler(ours.fileno(), events)
        seen.clear()
        run_until(io_loop, lambda: len(set(seen)) == len(expected))
        assert set(seen) == expected
    io_loop.update_handler(ours, face.IOLoop.NONE)
    seen.clear()
    turns = []
    for _ in range(3):
        io_loop.add_callback(turns.append, 1)
    run_until(io_loop, lambda: turns)
    assert seen == []


def test_a_second_handler_is_an_error_and_a_second_removal_is_not(face, io_loop, pair):
    ours, _ = pair
    io_loop.add_handler(ours, print, face.IOLoop.READ)
    with pytest.raises(ValueError, match=f'fd {ours.fileno()} added twice'):
        io_loop.add_handler(ours.fileno(), print, face.IOLoop.WRITE)
    io_loop.remove_handler(ours)
    io_loop.remove_handler(ours)
    io_loop.add_handler(ours.fileno(), print, face.IOLoop.READ)
    io_loop.remove_handler(ours.fileno())


def test_the_peers_end_comes_as_a_read(face, io_loop, pair):
    ours, theirs = pair
    seen = []
    io_loop.add_handler(ours, lambda fd, events: (seen.append(events), io_loop.remove_handler(fd)), face.IOLoop.READ | face.IOLoop.ERROR)
    theirs.close()
    run_until(io_loop, lambda: seen)
    assert seen == [face.IOLoop.READ]


def test_a_handler_that_raises_stays_and_is_told_to_asyncio(face, io_loop, pair):
    told, (ours, theirs) = [], pair
    io_loop.asyncio_loop.set_exception_handler(lambda loop, context: told.append(context['exception']))

    def handler(fd, events):
        fd.recv(1)
        raise ValueError('mine')
    io_loop.add_handler(ours, handler, face.IOLoop.READ)
    theirs.send(b'12')
    run_until(io_loop, lambda: len(told) == 2)
    assert [str(error) for error in told] == ['mine', 'mine']
    io_loop.remove_handler(ours)


def test_close_closes_descriptors_if_asked(face):
    ours, theirs = socket.socketpair()
    plain = os.dup(theirs.fileno())
    io_loop = face.IOLoop(make_current=False)
    io_loop.add_handler(ours, print, face.IOLoop.READ)
    io_loop.add_handler(plain, print, face.IOLoop.READ)
    io_loop.close(all_fds=True)
    assert ours.fileno() == -1
    with pytest.raises(OSError):
        os.fstat(plain)
    io_loop.add_callback(print)  # Dropped.
    theirs.close()


# --- Current --------------------------------------------------------------------------------------

def test_current_is_the_running_loops(face, io_loop):
    async def main():
        return face.IOLoop.current(), face.IOLoop.current().asyncio_loop is asyncio.get_running_loop()
    assert io_loop.run_sync(main) == (io_loop, True)
    assert face.IOLoop.instance() is io_loop
    inner, right = asyncio.run(main())
    assert inner is not io_loop and right


def test_another_current_one_cannot_be_made(face, io_loop):
    if face is tornado.ioloop and tornado.version_info >= (6, 3):
        other = face.IOLoop(make_current=True)
        assert face.IOLoop.current() is other
        other.close()
        io_loop.make_current()
    else:  # As it was up to Tornado 6.2, which ours is.
        with pytest.raises(RuntimeError, match='current IOLoop already exists'):
            face.IOLoop(make_current=True)
    face.IOLoop(make_current=False).close()


def test_a_thread_without_a_loop_has_none(face):
    said = []

    def ask():
        said.append(face.IOLoop.current(instance=False))
        try:
            made = face.IOLoop.current()
        except RuntimeError as error:
            said.append(str(error))
        else:
            said.append(made)
            made.close()
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert said[0] is None
    if face is tornado.ioloop and tornado.version_info >= (6, 3):
        assert isinstance(said.pop(), face.IOLoop)
    else:
        assert 'no current event loop' in said[1]


def test_clear_current_gives_the_thread_back(face, io_loop):
    other = face.IOLoop(make_current=False)
    other.make_current()
    assert face.IOLoop.current() is other
    face.IOLoop.clear_current()
    assert face.IOLoop.current() is io_loop
    other.close()
