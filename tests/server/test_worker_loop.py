"""The worker's event loop from import to drain, and in processes that are no worker."""
import re
import signal

import pytest

from conftest import APPS


@pytest.fixture
def start(server):
    return lambda *options, **more: server('worker_loop.py', *options, **{'cores': 20, **more})


@pytest.mark.smoke
@pytest.mark.parametrize('options', [
    '', '--lazy-apps', '--master', '--master --processes 2', '--master --processes 2 --lazy-apps'])
def test_loop_of_import_is_the_workers(start, options):
    running = start(*options.split())
    workers = options.endswith(('2', '2 --lazy-apps')) + 1
    running.wait_for_log('the task of import runs in', count=workers)
    assert {int(pid) for pid in re.findall(r'runs in (\d+)', running.log)} == set(running.worker_pids())
    answers = {result[2].decode() for result in running.get_all(['/identity'] * 30)[0]}
    assert answers <= {f'{pid} True True True' for pid in running.worker_pids()}


@pytest.mark.parametrize('options', [[], ['--master'], ['--master', '--lazy-apps']], ids=' '.join)
def test_a_worker_whose_loop_was_closed_at_import_serves(server, options):
    running = server('closed_loop.py', *options, cores=5)
    assert running.get()[2] == b'served'
    assert running.drain() == (0 if options else 17)


def test_error_in_a_callback_does_not_end_the_worker(start):
    running = start()
    assert running.get('/errors')[2].decode() == f'{running.process.pid} 7 alive'
    assert running.get('/errors')[2].decode() == f'{running.process.pid} 7 alive'
    for sign in ('ValueError: in a callback', 'SystemExit: out of a callback', 'KeyboardInterrupt: from a callback'):
        running.wait_for_log(sign, count=4)


def test_error_that_nobody_awaits_is_logged(start):
    running = start()
    assert running.get('/unawaited_error')[2] == b'done'
    running.wait_for_log('LookupError: that nobody asked for')


def test_debug_mode(start):
    running = start(environ={'PYTHONASYNCIODEBUG': '1'})
    other_thread = 'Non-thread-safe operation invoked on an event loop other than the current one'
    assert running.get('/debug')[2].decode() == repr([True, other_thread, 'done'])
    running.wait_for_log(r'Executing <Handle sleep.* took 0\.1[0-9]+ seconds')
    assert running.get('/errors')[2].decode() == f'{running.process.pid} 7 alive'


def test_forked_child_runs_loops_of_its_own(start):
    running = start()
    results, _ = running.get_all(['/forked'] * 5)
    assert [result[2].decode() for result in results] == [
        repr(("('in a child', 'RuntimeError')", 'the parent goes on'))] * 5


@pytest.mark.parametrize('options', ['', '--lazy-apps'])
def test_mule_runs_loops_by_hand(start, options):
    running = start('--master', f'--mule={APPS}/mule.py', *options.split())
    running.wait_for_log('mule 1: 1 2 3')
    assert running.get('/identity')[2].decode() == f'{running.worker_pids()[0]} True True True'


def test_spooler_runs_loops_by_hand(start, tmp_path):
    (tmp_path / 'spool').mkdir()
    running = start('--master', '--spooler', str(tmp_path / 'spool'))
    assert running.get('/spool')[2] == b'spooled'
    running.wait_for_log('spooler: True 1 2')
    assert running.get('/identity')[2].decode() == f'{running.worker_pids()[0]} True True True'


@pytest.mark.smoke
@pytest.mark.parametrize('options', ['', '--master'])
def test_drain_ends_the_tasks_that_are_left(start, options):
    running = start(*options.split())
    assert running.get('/leave')[2] == b"(0, 'left')"
    code = running.drain()
    assert code == (0 if options else 17)
    log = running.log
    assert 'one has cleaned up' in log
    assert 'two has cleaned up' in log
    assert 'ValueError: at the end' in log
    assert 'the generator is closed' in log
    assert 'was destroyed but it is pending' not in log and 'never awaited' not in log


def test_drain_lets_requests_have_their_results(start):
    running = start()
    with running.connect() as connection:
        connection.sendall(b'GET /wait HTTP/1.0\r\n\r\n')
        assert running.get('/leave')[0] == 200
        running.process.send_signal(signal.SIGHUP)
        received = b''
        while chunk := connection.recv(1000):
            received += chunk
    assert received.endswith(b'waited')
    assert running.process.wait(20) == 17
    assert 'one has cleaned up' in running.log


def test_reload_starts_with_a_loop_of_its_own(start):
    running = start('--master', '--processes', '1')
    first, = running.worker_pids()
    assert running.get('/leave')[0] == 200
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_log('the task of import runs in', count=2)
    running.wait_for_log('one has cleaned up')
    answer = running.get('/identity')[2].decode()
    assert answer.endswith(' True True True') and not answer.startswith(f'{first} ')


def test_application_that_keeps_a_timer_keeps_nothing_else_alive(server):
    """uWSGI never gives up the application; what is left at the end fails the test."""
    running = server('kept_timer.py')
    assert running.get()[2] == b'kept'
    running.drain()
    assert 'LEAK' not in running.log
