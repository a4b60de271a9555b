"""A blocking call suspends where CPython lets another thread run, and nowhere else."""
import pytest

from test_isolation import ask_all, numbers


@pytest.fixture
def rule(server):
    return server('rule.py', cores=60)


def peak(running):
    """How many requests were inside a counted wait at once."""
    return int(running.get('/read_peak')[2])


def refusals(running):
    return running.get('/refusals')[2].decode()


@pytest.mark.smoke
def test_waits_of_requests_overlap(rule):
    assert ask_all(rule, 'sleep', 50) == numbers(50)
    assert peak(rule) > 10
    assert refusals(rule) == ''


def test_waits_inside_c_callbacks_overlap(rule):
    assert ask_all(rule, 'in_callback', 50) == numbers(50)
    assert peak(rule) > 10


@pytest.mark.parametrize('where', ['request', 'thread'])
def test_every_call_answers_as_the_real_one(rule, where):
    assert set(ask_all(rule, f'in_{where}', 20)) == {'all right'}
    assert refusals(rule) == ''


@pytest.mark.parametrize('where', ['child', 'process'])
def test_calls_are_the_real_ones_in_children_of_requests(rule, where):
    assert set(ask_all(rule, f'in_{where}', 10)) == {'all right'}
    assert rule.get('/sleep?after')[2] == b'after'


def test_call_made_with_the_gil_held_blocks(server):
    # The count round the call is Python, where a request may give way: not here.
    rule = server('rule.py', '--tornado-quantum', '0', cores=60)
    assert ask_all(rule, 'with_gil_held', 10) == numbers(10)
    assert peak(rule) == 1
    assert refusals(rule) == 'the GIL was held'


def test_call_made_under_a_guard_blocks(rule):
    assert ask_all(rule, 'under_guard', 10) == numbers(10)
    assert peak(rule) == 1
    assert refusals(rule) == 'suspension was forbidden'


@pytest.mark.smoke
def test_calls_made_in_foreign_greenlets_overlap(rule):
    assert ask_all(rule, 'in_greenlet', 50) == [str(number + 2) for number in range(50)]
    assert peak(rule) > 10
    assert refusals(rule) == ''


def test_requests_overlap_although_the_greenlet_package_is_loaded(rule):
    rule.get('/import_greenlet')
    assert ask_all(rule, 'sleep', 50) == numbers(50)
    assert peak(rule) > 10
    assert refusals(rule) == ''


@pytest.mark.smoke
def test_asyncio_run_suspends_its_own_request_only(rule):
    results, seconds = rule.get_all([f'/asyncio_run?{number}' for number in range(50)])
    assert [result[2].decode() for result in results] == numbers(50), rule.log[-3000:]
    assert peak(rule) > 10
    assert seconds < 50 * 0.05


@pytest.mark.parametrize('view', ['async', 'sync'])
def test_flask_views_overlap(server, view):
    running = server('flask_async.py', cores=60)
    results, seconds = running.get_all([f'/{view}?{number}' for number in range(50)])
    assert [result[2].decode() for result in results] == numbers(50), running.log[-3000:]
    assert seconds < 50 * 0.1 / 2


def test_calls_are_the_real_ones_when_python_ends(server):
    running = server('rule.py', cores=60)
    assert ask_all(running, 'sleep', 50) == numbers(50)
    running.drain()
    assert (running.log_path.parent / 'at_exit').read_text() == 'uwsgi.atexit thread slept'
