"""Plain code waits for the worker's event loop: await_, gather_, spawn, to_thread, sleep."""
import pytest

from overlap import REQUESTS, WAIT_S, ask_at_once, assert_far_below_serial, assert_overlap

MANY = 200


@pytest.fixture
def ask(server):
    """The answer of one request, as text."""
    running = server('awaits.py', cores=20)

    def answer(path):
        status, _, body = running.get(path)
        assert status == 200, running.log[running.log.index('cores on fibers'):]
        return body.decode()

    answer.server = running
    return answer


@pytest.mark.smoke
def test_requests_share_one_loop(server):
    running = server('awaits.py', cores=MANY)
    answers, seconds = ask_at_once(running, '/wait', MANY)
    assert answers == [str(n) for n in range(MANY)]
    assert_far_below_serial(seconds, MANY)


@pytest.mark.smoke
def test_everything_awaitable_is_waited_for(ask):
    assert ask('/kinds') == 'coroutine task done future tornado custom concurrent'


@pytest.mark.parametrize('function', ['await_', 'gather_'])
def test_application_may_switch_the_collector_off_while_it_waits(ask, function):
    assert ask(f'/future_that_switches_the_collector_off?{function}') == 'False'


def test_futures_that_are_done_while_they_are_gathered(ask):
    assert ask('/gathered_while_they_end') == "['done', 'done', 'done']"


def test_future_that_is_done_while_it_is_asked_to_tell(ask):
    assert ask('/future_done_meanwhile') == "('done meanwhile', True)"


def test_gather_gives_results_in_order(ask):
    assert ask('/gathered') == repr(([*range(20), 'pool'], [], ['no', '1'], True))
    assert ask('/gather_fails') == 'first'


def test_gather_that_takes_too_long_is_a_timeout(ask):
    assert ask('/gather_timed_out') == 'TimeoutError None'


def test_result_that_comes_before_the_wait_begins_ends_it(ask):
    assert ask('/done_before_the_wait') == "('done meanwhile', True)"


def test_finalisers_that_wait_meanwhile_lose_no_result(ask):
    assert ask('/while_finalisers_wait') == 'through'


def test_what_is_not_awaitable_is_refused(ask):
    assert ask('/not_awaitable') == 'An asyncio.Future, a coroutine or an awaitable is required'


def test_traceback_has_frames_of_request_and_of_coroutine(ask):
    assert ask('/joined_traceback') == 'joined_traceback outer_function inner_coroutine fails'


def test_task_cancelled_by_a_timeout_cleans_up_before(ask):
    assert ask('/timed_out') == "TimeoutError ['cleaned up']"


def test_result_that_comes_in_spite_of_a_timeout_is_the_result(ask):
    assert ask('/ignores_cancellation') == 'a result all the same'


@pytest.mark.slow
def test_timeout_bounds_the_clean_up(ask):
    assert ask('/never_cancelled') == 'True'


def test_timeout_that_does_not_come_leaves_nothing(ask):
    assert ask('/in_time') == "('in time', 'at once')"


def test_future_that_is_late_is_cancelled(ask):
    assert ask('/future_timed_out') == 'True'
    assert ask('/concurrent_timed_out') == '(False, True)'  # One that runs already cannot be.
    assert ask('/cancelled') == 'CancelledError'


def test_context_is_copied_into_tasks_and_spawned_functions(ask):
    assert ask('/context?mine') == repr(
        ('mine', 'of the task', 'mine', 'mine', 'of the spawned', 'mine', 'mine'))
    assert ask('/context?other')[:8] == "('other'"


def test_refusals_say_what_to_do(ask):
    sentences = ask('/refuses').splitlines()
    in_async_code = [f'{name}() would stop the event loop that runs here: in async code use await'
                     for name in ('await_', 'await_', 'gather_', 'sleep', 'to_thread')]
    assert sentences == [
        *in_async_code,
        'await_() in a no_suspend() section would wait for ever: '
        'the event loop cannot run meanwhile',
        in_async_code[0],
        'await_() waits for the event loop of a uWSGI worker: call it in a request or in spawn()',
        'spawn() must be called on the thread of a uWSGI worker that runs with --tornado',
    ]


def test_spawned_functions_are_threads_of_their_own(ask):
    assert ask('/spawned') == repr((*(f'{n}.' for n in range(10)), True, 'in a spawned function'))
    assert ask('/spawned_by_a_callback') == 'slept'


def test_spawned_function_that_exits_ends_alone(ask):
    assert ask('/spawned_exit') == 'SystemExit(3)'
    assert ask('/kinds')


def test_to_thread_runs_on_a_real_thread(ask):
    assert ask('/threads') == repr((True, 'keyword', "invalid literal for int() with base 10: 'x'"))


def test_loops_are_run_as_in_plain_code(server):
    running = server('awaits.py', cores=REQUESTS)
    assert_overlap(running, '/run_until_complete', lambda n: f"(True, '{n}', None)")
    answers, seconds = ask_at_once(running, '/own_loop', 20)
    assert answers == [str(n) for n in range(20)]
    assert seconds < 20 * WAIT_S / 2


def test_requests_see_no_running_loop(ask):
    assert ask('/no_loop_seen') == "(None, None, None, 'x', None)"


def test_results_from_real_threads_wake_the_loop(ask):
    for _ in range(5):
        assert ask('/from_threads') == "(4950, 'threadsafe')"
