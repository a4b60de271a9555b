"""Functions that asynchronous code hands to a pool of threads run on virtual threads."""
import ast

import pytest

WAITS, WAIT_S = 1000, 0.2  # WAIT_S as in executors.py.
POOLS = ['executor', 'to_thread', 'asgiref', 'anyio_threads']


@pytest.fixture
def ask(server):
    def start(*options):
        running = server('executors.py', *options, cores=5)

        def answer(path, count=WAITS):
            status, _, body = running.get(f'/{path}?{count}')
            assert status == 200, running.log
            return body.decode()

        answer.server = running
        return answer

    return start


@pytest.mark.smoke
@pytest.mark.parametrize('pool', POOLS)
def test_a_thousand_wait_at_once(ask, pool):
    on_workers_thread, seconds = ast.literal_eval(ask()(pool))
    assert on_workers_thread
    assert seconds < WAITS * WAIT_S / 20  # A pool of 40 takes WAITS / 40 waits in turn; a loaded machine has room.


@pytest.mark.parametrize('pool', POOLS)
def test_option_gives_the_pools_back(ask, pool):
    on_workers_thread, _ = ast.literal_eval(ask('--tornado-native-executor')(pool, 10))
    assert not on_workers_thread


@pytest.mark.parametrize('path, expected', [
    ('results', repr(('right', "ZeroDivisionError('division by zero')", 'no running event loop'))),
    ('cancelled', repr(([], [True]))),
    ('anyio_limited', 'True'),
    ('anyio_back', '(8, True)'),
    ('sensitive', 'True'),
    ('single', '1'),
    ('own_pool', 'False'),
    ('real', 'False'),
    ('from_a_thread', 'True'),
])
def test_answers_are_those_of_a_pool(ask, path, expected):
    assert ask()(path) == expected


@pytest.mark.parametrize('path', ['results', 'cancelled', 'anyio_limited', 'anyio_back', 'single', 'own_pool', 'real'])
def test_answers_are_the_same_with_real_threads(ask, path):
    assert ask('--tornado-native-executor')(path) == ask()(path)


def test_idle_threads_are_not_shown_and_do_not_keep_the_worker(ask):
    asked = ask()
    assert asked('dropped') == '1'  # The request itself.
    for path in ('sensitive', 'single', 'anyio_threads'):
        asked(path)
    asked.server.drain()
    assert 'worker-reload-mercy is over' not in asked.server.log


def test_functions_that_run_keep_the_worker_until_they_end(ask):
    asked = ask()
    assert asked('waits_on') == 'begun'
    asked.server.drain()
    assert 'went on to its end' in asked.server.log
