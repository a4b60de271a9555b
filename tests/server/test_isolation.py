"""What one request has in hand is not another's: every core is a thread of its own to Python."""
import collections
import contextvars
import importlib.util

import pytest

from conftest import APPS

RECURSIONS = ['endless', 'endless_sort', 'endless_json', 'endless_json_load', 'endless_callback',
              'endless_sql', 'endless_attribute']


@pytest.fixture
def isolation(server):
    return server('isolation.py', cores=60)


def ask_all(running, route, count):
    """The bodies of `count` requests at once, each with its number as the query."""
    results, _ = running.get_all([f'/{route}?{number}' for number in range(count)])
    wrong = [r for r in results if isinstance(r, Exception) or r[0] != 200]
    assert not wrong, f'{wrong[0]}\n{running.log[-4000:]}'
    return [body.decode() for _, _, body in results]


def numbers(count):
    return [str(number) for number in range(count)]


@pytest.mark.smoke
def test_handled_exceptions_are_each_requests_own(isolation):
    assert ask_all(isolation, 'exceptions', 50) == numbers(50)


@pytest.mark.smoke
def test_thread_locals_and_idents_are_each_cores_own(isolation):
    idents = ask_all(isolation, 'thread_local', 50)
    assert len(set(idents)) == 50


def test_thread_locals_stay_with_their_core(isolation):
    seen = collections.Counter()
    for _ in range(20):
        core, count = isolation.get('/count_on_this_core')[2].split()
        seen[core] += 1
        assert int(count) == seen[core]
    assert max(seen.values()) > 1


def test_context_variables_start_afresh_in_every_request(isolation):
    assert ask_all(isolation, 'context_variable', 50) == numbers(50)
    assert ask_all(isolation, 'context_variable', 50) == numbers(50)  # On the same cores.


def test_decimal_contexts_are_each_requests_own(isolation):
    results = ask_all(isolation, 'decimal_context', 50)
    assert [len(result) - len('0.') for result in results] == [10 + number for number in range(50)]
    assert set(ask_all(isolation, 'default_decimal_precision', 50)) == {'28'}


def test_deep_recursion_waits_at_the_bottom_in_many_requests(isolation):
    assert ask_all(isolation, 'deep', 20) == numbers(20)


def test_deep_recursion_through_c_waits_at_the_bottom_in_many_requests(isolation):
    assert ask_all(isolation, 'deep_through_c', 20) == numbers(20)


def test_recursion_error_of_one_request_leaves_the_others_their_depth(isolation):
    assert ask_all(isolation, 'caught_endless', 20) == numbers(20)


def test_endless_recursion_is_an_error_of_its_request_and_never_a_crash(isolation):
    results, _ = isolation.get_all([f'/{route}?0' for route in RECURSIONS for _ in range(3)])
    assert [result[0] for result in results] == [500] * len(results), isolation.log
    assert isolation.log.count('RecursionError: ') >= len(results)
    assert isolation.get('/hello')[2] == b'hello'


def test_trace_functions_see_their_own_request_only(isolation):
    assert ask_all(isolation, 'traced', 20) == numbers(20)


def test_generators_go_on_in_another_request(isolation):
    assert ask_all(isolation, 'start_generator', 20) == ['started'] * 20
    assert ask_all(isolation, 'resume_generator', 20) == numbers(20)


def test_generator_that_waits_in_one_request_is_running_for_another(isolation):
    results, _ = isolation.get_all(['/hold_generator', '/disturb_generator'])
    assert [result[2] for result in results] == [b'True', b'generator already executing']


def test_collection_leaves_what_suspended_requests_hold(server):
    running = server('isolation.py', cores=210)
    paths = [f'/hold_cycle?{number}' for number in range(200)] + ['/collect']
    results, _ = running.get_all(paths)
    assert [result[2].decode() for result in results] == numbers(200) + ['200']
    assert running.get('/alive_cycles')[2] == b'0'


def expected_of_programs(seeds):
    spec = importlib.util.spec_from_file_location('programs', APPS / 'programs.py')
    programs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(programs)
    return [contextvars.Context().run(programs.run, seed, lambda: None) for seed in seeds]


def test_programs_with_waits_strewn_in_compute_the_same_as_without(server):
    running = server('programs.py', cores=60)
    results, _ = running.get_all([f'/?{seed}' for seed in range(120)])
    assert [result[2].decode() for result in results] == expected_of_programs(range(120))


def test_uwsgi_state_is_right_after_a_wait(isolation):
    assert len(set(ask_all(isolation, 'uwsgi_state', 50))) == 50
