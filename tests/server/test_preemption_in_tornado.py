"""A request is not preempted in functions of Tornado's that work on objects of the worker's loop, and is in others."""
import pytest

from test_preemption import InBackground


@pytest.fixture
def running(server):
    return server('compute_with_tornado.py', '--tornado-quantum', '1')


@pytest.mark.parametrize('place', ['stream', 'coroutine'])
def test_nobody_else_runs_in(running, place):
    counting = InBackground(running, '/count_for?0.8', 2)
    assert running.get(f'/alone?{place}')[2] == b'0 True True'
    counting.answers()


def test_others_run_in_a_template(running):
    counting = InBackground(running, '/count_for?0.8', 2)
    assert int(running.get('/beside?template')[2]) > 0
    counting.answers()
