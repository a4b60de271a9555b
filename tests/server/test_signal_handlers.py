"""Python's signal handlers and the event loop's, in workers that sleep."""
import os
import signal

import pytest

AT_IMPORT, IN_WORKER = signal.SIGRTMIN + 1, signal.SIGRTMIN + 2


@pytest.fixture
def start(server):
    return lambda *options: server('signal_handlers.py', *options, cores=5)


def test_handlers_set_at_import_and_in_the_worker_run(start):
    running = start('--master')
    assert running.get('/add')[0] == 200
    worker, = running.worker_pids()
    os.kill(worker, AT_IMPORT)
    running.wait_for_log(f'set at import in {worker}')
    os.kill(worker, IN_WORKER)
    running.wait_for_log(f'set in the worker in {worker}')


@pytest.mark.parametrize('before', [[], ['/add'], ['/remove'], ['/add', '/remove'], ['/remove_and_fail_to_add']])
def test_pythons_handlers_run_whatever_the_loop_has_handlers_for(start, before):
    """asyncio drops the wake-up descriptor of the process with the last handler of the loop."""
    running = start()
    for route in [*before, '/signal_and_rest']:
        assert running.get(route)[0] == 200
    assert running.log.index('alarm in') < running.log.index('rested in')


def test_a_worker_runs_the_handlers_of_its_own_signals_only(start):
    """The handler's descriptor is made in the master, where the application is imported."""
    running = start('--master', '--processes', '2')
    one, _ = running.worker_pids()
    for count in range(1, 31):
        os.kill(one, AT_IMPORT)
        running.wait_for_log('set at import in', count=count)
    assert running.log.count(f'set at import in {one}\n') == 30


def test_a_childs_signal_is_not_its_parents(start):
    running = start()
    assert running.get('/add')[0] == 200
    assert running.get('/signal_a_child')[0] == 200
    os.kill(running.process.pid, AT_IMPORT)
    running.wait_for_log('set at import')
    assert 'set in the worker in' not in running.log
