"""uwsgi_tornado.PeriodicCallback; Tornado's own as the reference."""
import asyncio
import datetime
import time

import pytest

from test_tornado_io_loop import face, io_loop, logged, pytestmark, run_until  # Fixtures.


def test_it_is_called_until_it_is_stopped(face, io_loop):
    seen = []
    periodic = face.PeriodicCallback(lambda: seen.append(io_loop.time()), 5)
    assert not periodic.is_running()
    started = io_loop.time()
    periodic.start()
    assert periodic.is_running() and periodic.io_loop is io_loop
    run_until(io_loop, lambda: len(seen) >= 5)
    periodic.stop()
    assert not periodic.is_running()
    count = len(seen)
    io_loop.run_sync(lambda: asyncio.sleep(0.02))
    assert len(seen) == count
    for number, moment in enumerate(seen):
        assert moment - started > (number + 1) * 0.005 - 0.002


def test_it_starts_again(face, io_loop):
    seen = []
    periodic = face.PeriodicCallback(lambda: seen.append(1), datetime.timedelta(milliseconds=2))
    for _ in range(2):
        periodic.start()
        run_until(io_loop, lambda: len(seen) >= 2)
        periodic.stop()
        seen.clear()
    assert periodic.callback_time == 2


@pytest.mark.parametrize('period', [0, -1])
def test_the_period_must_be_positive(face, period):
    with pytest.raises(ValueError, match='must have a positive callback_time'):
        face.PeriodicCallback(print, period)


@pytest.mark.parametrize('now, following', [
    (1000, 1010), (1009.99, 1010), (1010, 1020), (1035, 1040),  # On the grid; what was missed is left out.
    (990, 1010), (0, 1010),  # The clock went back.
])
def test_the_next_call_is_on_the_grid(face, now, following):
    periodic = face.PeriodicCallback(print, 10_000)
    periodic._next_timeout = 1000
    periodic._update_next(now)
    assert periodic._next_timeout == following


def test_jitter_varies_the_period_by_its_part(face):
    periods = []
    for _ in range(200):
        periodic = face.PeriodicCallback(print, 10_000, jitter=0.5)
        periodic._next_timeout = 1000
        periodic._update_next(1000)
        periods.append(periodic._next_timeout - 1000)
    assert 7.5 <= min(periods) < 9 and 11 < max(periods) <= 12.5


def test_calls_missed_by_a_slow_one_do_not_pile_up(face, io_loop):
    began = []

    def slow():
        began.append(time.monotonic())
        if len(began) == 1:
            time.sleep(0.05)
    periodic = face.PeriodicCallback(slow, 10)
    periodic.start()
    run_until(io_loop, lambda: len(began) >= 3)
    periodic.stop()
    assert began[2] - began[1] > 0.005  # At once after one another, if they piled up.


def test_a_coroutine_is_awaited_before_the_next_call(face, io_loop):
    running, most, done = [], [], []

    async def slow():
        running.append(1)
        most.append(len(running))
        await asyncio.sleep(0.01)
        running.pop()
        done.append(1)
    periodic = face.PeriodicCallback(slow, 2)
    periodic.start()
    run_until(io_loop, lambda: len(done) >= 4)
    periodic.stop()
    run_until(io_loop, lambda: not running)
    assert max(most) == 1


def test_exceptions_are_logged_and_the_calls_go_on(face, io_loop, logged):
    seen = []

    def fails():
        seen.append(1)
        raise ValueError('mine')

    async def fails_later():
        await asyncio.sleep(0)
        fails()
    for callback in (fails, fails_later):
        seen.clear()
        logged.clear()
        periodic = face.PeriodicCallback(callback, 1)
        periodic.start()
        run_until(io_loop, lambda: len(seen) >= 3)
        periodic.stop()
        for _ in range(3):  # One that has begun ends.
            io_loop.run_sync(lambda: asyncio.sleep(0))
        assert len(logged) == len(seen)
        assert logged[0] == ('ERROR', f'Exception in callback {callback!r}', ValueError)


def test_a_callback_may_stop_it(face, io_loop):
    seen = []
    periodic = face.PeriodicCallback(lambda: (seen.append(1), periodic.stop()) and None, 1)
    periodic.start()
    run_until(io_loop, lambda: seen)
    io_loop.run_sync(lambda: asyncio.sleep(0.01))
    assert seen == [1]
