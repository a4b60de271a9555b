"""call_later and call_at."""
import random
import time

import pytest


def run_for(loop, seconds):
    loop.call_later(seconds, loop.stop)
    loop.run_forever()


def test_the_clock_is_monotonic_time(loop):
    before = time.monotonic()
    assert before <= loop.time() <= time.monotonic()


def test_timers_fire_in_the_order_of_their_time(loop):
    seen, now = [], loop.time()
    delays = list(range(300))
    random.Random(1).shuffle(delays)
    for delay in delays:
        loop.call_at(now + delay * 0.0001, seen.append, delay)
    run_for(loop, 0.05)
    assert seen == sorted(delays)


def test_a_timer_fires_no_earlier_than_its_time(loop):
    late = []
    for number in range(30):
        when = loop.time() + number * 0.001
        loop.call_at(when, lambda when=when: late.append(loop.time() - when))
    run_for(loop, 0.06)
    assert len(late) == 30 and min(late) >= -1e-6


def test_a_timer_in_the_past_fires_in_the_next_turn(loop):
    seen = []
    loop.call_later(-5, seen.append, 'past')
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ['past']


def test_ready_callbacks_do_not_keep_a_timer_from_firing(loop):
    def spin():
        if loop.is_running():
            loop.call_soon(spin)
    loop.call_soon(spin)
    run_for(loop, 0.02)


def test_when_is_what_was_asked(loop):
    handle = loop.call_at(5, print)
    assert handle.when() == 5 and repr(handle.when()) == '5'
    handle.cancel()
    now = loop.time()
    later = loop.call_later(100, print)
    assert 0 <= later.when() - now - 100 < 1
    later.cancel()


def test_a_cancelled_timer_does_not_fire(loop):
    seen = []
    handles = [loop.call_later(0.001 * (number % 7), seen.append, number) for number in range(200)]
    for handle in handles[::2]:
        handle.cancel()
    run_for(loop, 0.03)
    assert sorted(seen) == list(range(1, 200, 2))


def test_a_timer_can_be_cancelled_by_one_due_at_the_same_time(loop):
    seen, when = [], loop.time()
    loop.call_at(when, lambda: second.cancel())
    second = loop.call_at(when + 1e-12, seen.append, 'second')
    run_for(loop, 0.01)
    assert seen == []


@pytest.mark.parametrize('count', [10000])
def test_many_timers_fire_and_many_are_cancelled(loop, count):
    seen, generator = [], random.Random(2)
    handles = [loop.call_later(generator.random() * 0.05, seen.append, number) for number in range(count)]
    kept = set(range(count))
    for number in generator.sample(range(count), count // 2):
        handles[number].cancel()
        kept.discard(number)
    run_for(loop, 0.08)
    assert sorted(seen) == sorted(kept)


def test_timers_beyond_any_sleep_are_accepted(loop):
    handles = [loop.call_later(delay, print) for delay in (1e6, 1e10, float('inf'))]
    run_for(loop, 0.01)
    for handle in handles:
        assert not handle.cancelled()
        handle.cancel()


def test_timers_compare_by_their_time(loop):
    early, late = loop.call_at(1, print), loop.call_at(2, print)
    assert early < late and late > early and early <= late and early != late and hash(early) == hash(1)
    early.cancel()
    late.cancel()
