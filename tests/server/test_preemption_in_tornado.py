"""A request is not preempted in functions of Tornado's that work on objects of the worker's loop, and is in others."""
import pytest

from test_preemption import beside_two_that_count


@pytest.fixture
def running(server):
    return server('compute_with_tornado.py', '--tornado-quantum', '1')


@pytest.mark.parametrize('place', ['stream', 'coroutine'])
def test_nobody_else_runs_in(running, place):
    assert beside_two_that_count(running, f'/alone?{place}') == b'0 True True'


def test_others_run_in_a_template(running):
    assert int(beside_two_that_count(running, '/beside?template')) > 0
