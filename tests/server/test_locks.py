"""Locks, queues, futures and whatever Python builds on them, held and waited for across waits."""
import sys

import pytest

from test_isolation import ask_all, numbers


@pytest.fixture
def locks(server):
    return server('locks.py', cores=40)


def bodies(results):
    return [result[2].decode() for result in results]


@pytest.mark.smoke
@pytest.mark.parametrize('kind', ['lock', 'rlock'])
def test_one_request_at_a_time_is_inside_a_lock_held_across_a_wait(locks, kind):
    assert ask_all(locks, f'hold_{kind}', 30) == ['1'] * 30


def test_semaphores_let_in_as_many_as_they_say(locks):
    assert max(ask_all(locks, 'hold_semaphore', 30)) == '3'


def test_barriers_gather_requests_again_and_again(locks):
    assert ask_all(locks, 'pass_barrier', 30) == numbers(30)


def test_conditions_wake_every_request(locks):
    results, _ = locks.get_all([f'/wait_for_condition?{number}' for number in range(20)] + ['/open_condition'])
    assert bodies(results) == numbers(20) + ['opened']


def test_event_set_by_a_thread_wakes_requests_at_once(locks):
    results, seconds = locks.get_all(
        [f'/wait_for_event?{number}' for number in range(30)] + ['/set_event_in_thread'])
    assert bodies(results) == numbers(30) + ['soon']
    assert seconds < 5  # A wake-up that is lost costs 25.


@pytest.mark.parametrize('kind', ['Queue', 'LifoQueue', 'PriorityQueue', 'SimpleQueue', 'full'])
def test_queues_pass_each_item_once(locks, kind):
    results, _ = locks.get_all([f'/get?{kind}={number}' for number in range(15)] +
                               [f'/put?{kind}={number}' for number in range(15)])
    assert sorted(map(int, bodies(results[:15]))) == list(range(15))
    assert bodies(results[15:]) == ['put'] * 15


@pytest.mark.smoke
def test_futures_of_a_pool_are_waited_for(locks):
    assert ask_all(locks, 'submit', 30) == [str(2 * number) for number in range(30)]


@pytest.mark.parametrize('route', ['as_completed', 'wait_for_futures'])
def test_several_futures_are_waited_for(locks, route):
    assert ask_all(locks, route, 20) == [str(2 * (3 * number + 3)) for number in range(20)]


def test_pools_of_requests_end_with_them(locks):
    assert ask_all(locks, 'executor_of_its_own', 20) == [str(6 * number) for number in range(20)]


def test_slow_logging_handlers_run_one_at_a_time(locks):
    assert ask_all(locks, 'log_slowly', 30) == ['1'] * 30
    assert locks.log.count('slow: from ') == 30


def test_module_is_whole_for_everyone_who_imports_it_at_once(locks):
    assert ask_all(locks, 'import_slow', 20) == ['True'] * 20


def test_modules_that_import_each_other_are_imported_from_both_ends(locks):
    results, _ = locks.get_all(['/import_circular?circular_a', '/import_circular?circular_b'])
    assert bodies(results) == ['True'] * 2, locks.log[-3000:]


def test_lru_cache_keeps_its_results_apart_under_waits(locks):
    assert ask_all(locks, 'lru_cache', 30) == [str((number % 4) ** 2) for number in range(30)]


def test_cached_property_is_computed_once(locks):
    answers = set(ask_all(locks, 'cached_property', 20))
    # From 3.12 on it takes no lock.
    assert len(answers) == 1 or sys.version_info >= (3, 12)


def test_rlock_belongs_to_the_request_that_took_it(locks):
    results, _ = locks.get_all(['/own_rlock', '/envy_rlock'])
    assert bodies(results) == ['released', 'False cannot release un-acquired lock']


def test_sqlite_connection_belongs_to_the_core_that_made_it(locks):
    results, _ = locks.get_all(['/open_database', '/use_database'])
    assert 'SQLite objects created in a thread can only be used in that same thread' in bodies(results)[1]


@pytest.mark.parametrize('limit_s', [0.0001, 0.1])
def test_waits_give_up_after_their_timeout(locks, limit_s):
    results, seconds = locks.get_all([f'/time_out?{limit_s}'] * 40)
    assert bodies(results) == ['timed out'] * 40, locks.log[-3000:]
    assert seconds < max(40 * 8 * limit_s / 5, 5)


def test_no_wake_up_is_lost_between_many_requests_and_threads(server):
    running = server('locks.py', cores=210)
    running.get('/start_servers')
    results, seconds = running.get_all(['/stress'] * 200)
    assert bodies(results) == ['done'] * 200, running.log[-3000:]
    assert running.get('/read_total')[2] == b'4000'
    assert seconds < 20  # A lost wake-up costs 25.


def test_signal_handler_that_wants_a_waiting_requests_lock_gets_it(locks):
    results, _ = locks.get_all(['/hold_while_signalled', *['/hold_lock'] * 10])
    assert results[0][2] == b'released'
    locks.wait_for_log('the handler has the lock')  # The answer may come before the loop runs it.
    assert locks.log.index('gives the lock back') < locks.log.index('the handler has the lock')


def test_a_lock_held_while_computing_is_released_where_blocking_calls_block(server):
    running = server('with_lock.py', '--tornado-native-blocking', cores=10)
    results, _ = running.get_all(['/?%d' % n for n in range(10)])
    assert [result[2] for result in results] == [b'%d' % n for n in range(10)]
