"""--greenlet: the module greenlet on the engine's fibers."""
import ast

import pytest

from overlap import ask_at_once


def ask(running, path):
    status, _, body = running.get(path)
    assert status == 200, running.log
    return body.decode()


@pytest.fixture
def running(server):
    return server('our_greenlets.py', '--greenlet')


@pytest.mark.smoke
def test_import_gives_our_module(running):
    assert ask(running, '/names') == "('greenlet', True, '2.0.2', False)"


def test_package_stays_importable_without_the_option(server):
    assert ask(server('our_greenlets.py'), '/names').endswith('True)')


def test_parent_of_a_request_is_the_loops_greenlet(running):
    assert ask(running, '/parents') == '(True, None, True, False)'


@pytest.mark.smoke
def test_request_waits_until_a_callback_switches_to_it(running):
    results, seconds = running.get_all([f'/waits_for_loop?{n}' for n in range(40)])
    assert [body.decode() for _, _, body in results] == [str(n) for n in range(40)]
    assert seconds < 40 * 0.05 / 2


def test_switch_from_the_loop_returns_what_the_request_says(running):
    assert ask(running, '/answers') == "('first', 'second', [(('between',), {'key': 1}), (), False])"


def test_exception_is_thrown_into_a_waiting_request(running):
    assert ask(running, '/thrown') == "ValueError('from the loop')"


def test_loop_goes_on_in_whichever_greenlet_it_switches_to(running):
    assert ask(running, '/child_waits') == "('child was meant', 'main was meant', False)"


def test_greenlet_that_blocks_suspends_its_whole_request(running):
    results, seconds = running.get_all([f'/sleeps?{n}' for n in range(40)])
    assert [body.decode() for _, _, body in results] == [f'(True, {n}, {n})' for n in range(40)]
    assert seconds < 40 * 0.2 / 5


def test_exception_raised_in_a_thread_comes_in_the_greenlet_that_runs(running):
    for _ in range(3):  # The later ones with stacks and states that the others have used.
        assert ask(running, '/asynchronous') == str(([True, True, 'ended', True, 'ended', True], [True] * 4))


def test_deadline_of_a_request_ends_no_other(running):
    results, _ = running.get_all([f'/timed?{n}' for n in range(40)])
    assert [body.decode() for _, _, body in results] == ['through', 'told'] * 20


def test_request_is_woken_by_another(running):
    results, _ = running.get_all(['/meet', '/wake'])
    assert [body for _, _, body in results] == [b"'hello'", b'()']


def test_switch_to_a_request_that_does_not_wait_is_refused(running):
    assert 'does not wait' in ask(running, '/not_waiting')


def test_callback_after_the_end_of_its_request_finds_it_dead(running):
    ask(running, '/late')
    assert ask(running, '/was_late') == '[(True, 7)]'


def test_request_is_not_suspended_where_that_is_forbidden(running):
    assert ask(running, '/forbidden').startswith('RuntimeError("this request may not be suspended here')


def test_greenlets_of_other_threads_are_refused(running):
    assert ast.literal_eval(ask(running, '/others')) == [
        'cannot switch to a different thread',
        'cannot switch to a request that does not wait in a switch to its parent']


def test_each_greenlet_has_its_own_context(running):
    assert ask(running, '/contexts') == "('unset', 'request', 'request')"


def test_unfinished_greenlets_end_with_their_request(running):
    ask(running, '/leave?3')
    assert ask(running, '/left?4') == '(4, True)'


def test_greenlet_collected_by_another_request_ends_in_its_own(running):
    results, _ = running.get_all(['/stays', '/collect'])
    assert [body for _, _, body in results] == [b'(0, True)', b'False']


def test_greenlet_that_catches_its_exit_is_told_again(running):
    ask(running, '/stubborn')
    assert ask(running, '/was_stubborn') == "(['exit', 'exit', 'exit'], True)"


def test_loop_has_greenlets_of_its_own(running):
    assert ask(running, '/on_loop') == '[2, 5, True]'


def test_sqlalchemys_greenlets_work_on_ours(running):
    results, seconds = running.get_all([f'/with_sqlalchemy?{n}' for n in range(40)])
    assert [body.decode() for _, _, body in results] == [f"('request', {n})" for n in range(40)]
    assert seconds < 40 * 0.05


def test_greenlets_of_a_python_thread_end_with_it(running):
    assert ask(running, '/in_a_thread') == '([True], True)'


def test_fork_leaves_the_other_greenlets_behind(running):
    said, dead = ast.literal_eval(ask(running, '/forks'))
    assert ast.literal_eval(said) == [True, False, False, 'new',
                                      'cannot switch to a greenlet that a fork left in the parent process']
    assert dead is False


def test_recursion_in_a_greenlet_ends_in_an_error(running):
    assert ask(running, '/deep') == "'recursion'"


def test_frame_of_a_suspended_greenlet_is_shown(running):
    assert ask(running, '/frames') == "('stands_here', None, None)"


@pytest.mark.smoke
def test_greenlet_has_what_its_thread_has(running):
    assert ask(running, '/of_its_thread') == "((0, True), 0, True)"


@pytest.mark.smoke
def test_greenlet_has_its_threads_loop_and_task(running):
    assert ask(running, '/of_asyncio') == '(((True, True), True, True), ((True, True), True, True))'


def test_trace_function_sees_switches_and_throws(running):
    assert ask(running, '/traced') == "['switch', 'switch', 'throw', 'switch']"


def test_error_of_a_greenlet_comes_out_of_its_parents_switch(running):
    assert ask(running, '/errors') == "['errors', 'middle', 'fails']"


def test_a_hundred_requests_with_a_hundred_greenlets_each(server):
    running = server('our_greenlets.py', '--greenlet', cores=100)
    results, _ = running.get_all([f'/many?{n}' for n in range(100)])
    assert [body for _, _, body in results] == [b'True'] * 100


@pytest.mark.parametrize('quantum', ['0.1', '10'])
def test_greenlets_give_way_as_requests_do(server, quantum):
    running = server('our_greenlets.py', '--greenlet', '--tornado-quantum', quantum)
    alone = [ask(running, f'/computes?{n}') for n in range(20)]
    assert ask_at_once(running, '/computes', 20)[0] == alone


def test_works_where_the_application_is_loaded_in_each_worker(server):
    running = server('our_greenlets.py', '--greenlet', '--lazy-apps', '--master')
    assert ask(running, '/waits_for_loop?1') == '1'


def test_works_where_the_application_was_loaded_before_the_fork(server):
    running = server('our_greenlets.py', '--greenlet', '--master')
    assert ask(running, '/waits_for_loop?1') == '1'
