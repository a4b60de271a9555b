"""A request may run a further interpreter, as a thread may."""
import pytest

from overlap import ask_at_once

PATHS = ['/assign', '/from_c', '/sleep', '/compute', '/threads']


@pytest.mark.parametrize('path', PATHS)
def test_request_runs_another_interpreter(server, path):
    running = server('interpreters.py', cores=10)
    assert running.get(f'{path}?1')[2] == b'1'
    assert ask_at_once(running, path, 10)[0] == [str(n) for n in range(10)]
    assert running.get('/assign?7')[2] == b'7'


def test_so_do_threads(threaded_server):
    running = threaded_server('interpreters.py')
    for path in PATHS:
        assert ask_at_once(running, path, 8)[0] == [str(n) for n in range(8)]
