"""uWSGI signals: what raises them, what their handlers may do, and who waits for them."""
import concurrent.futures
import signal
import time

import pytest

from conftest import EMBEDDED
from overlap import QUICK, WAITING, answers_beside, wait_until

CORES = WAITING + QUICK + 5
HELD, TOLD, API, SECOND, WAITED_FOR, UNREGISTERED, LATE = range(101, 108)
# Debian has it as a file; the embedded binary has it inside.
SERVES = [] if EMBEDDED else ['--plugin', 'signal']


@pytest.fixture
def start(server):
    return lambda *options, cores=CORES, **more: server('uwsgi_signals.py', '--master', *options, cores=cores, **more)


def wanting(running):
    return int(running.get('/wanting')[2])


@pytest.mark.smoke
def test_every_decorator_delivers(start, tmp_path):
    """To an idle worker, whose handlers wait."""
    watched = tmp_path / 'watched'
    watched.touch()
    running = start(environ={'WATCHED': str(watched)})
    for name in ('timer', 'rbtimer'):
        running.wait_for_log(rf'(?m)^{name} has run in worker 1', count=2)
    watched.write_text('changed')
    for name in ('filemon', 'cron'):
        running.wait_for_log(f'{name} has run in worker 1')
    assert 'error managing signal' not in running.log


@pytest.mark.smoke
def test_handlers_that_wait_cost_no_core(start):
    """50 of them wait in a worker of 5 cores, which serves 20 requests meanwhile."""
    running = start(cores=5)
    running.get_all([f'/send?{HELD}'] * WAITING)
    wait_until(lambda: int(running.get('/count')[2]) == WAITING)
    results, _ = running.get_all(['/'] * QUICK)
    assert [r[2] for r in results] == [b'hello'] * QUICK
    assert running.get(f'/handled?{HELD}')[2] == b'0'
    running.get('/release')
    wait_until(lambda: running.get(f'/handled?{HELD}')[2] == b'%d' % WAITING)


def test_timer_whose_handler_outlasts_its_period_does_not_pile_up(start):
    """Ticks wait, one at most; and the end of the worker for the one that runs."""
    running = start(environ={'SLOW_TICKS': '1'})
    running.wait_for_log('slow tick begins', count=3)  # After 5 ticks and more.
    # This request, the handlers of the quick timers, and one of the slow.
    wait_until(lambda: int(running.get('/fibers')[2]) <= 2)
    started = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(30)
    assert time.monotonic() - started < 4


def test_busy_worker_is_told(start):
    """Each request computes until the handler has run."""
    results, _ = start().get_all(['/raise_and_compute'] * 3)
    assert [r[2] for r in results] == [b'handled'] * 3


def test_handlers_wait_in_uwsgi_too(start):
    """In its async API and for its locks; a wait that one leaves behind leaves nothing."""
    running = start()
    for _ in range(10):
        running.get(f'/send?{API}')
    wait_until(lambda: running.get(f'/handled?{API}')[2] == b'10')
    shortest, written, timed_out = running.get('/said')[2].split()
    assert 0.19 < float(shortest) < 0.7 and written == timed_out == b'True'
    cpu = running.cpu_s()
    running.wait_for_log('rbtimer has run', count=running.log.count('rbtimer has run') + 1)
    assert running.cpu_s() - cpu < 0.3  # Nothing wakes the loop again and again.


@pytest.mark.smoke
def test_signal_wait_holds_nobody_up(start):
    """One signal ends the wait of all who wait for it, once its handler has run."""
    running = start()
    answers = answers_beside(running, [f'/signal_wait?{WAITED_FOR}'] * WAITING, waiting=lambda: wanting(running),
                             release=lambda: running.get(f'/send?{WAITED_FOR}'))
    assert answers == [f"(b'', {WAITED_FOR}, True)".encode()] * WAITING


def test_signal_wait_for_any_signal_or_for_one_nobody_handles(start):
    running = start()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        unregistered = pool.submit(running.get, f'/signal_wait?{UNREGISTERED}')
        wait_until(lambda: wanting(running) == 1)
        anything = pool.submit(running.get, '/signal_wait')
        assert anything.result(30)[2].endswith(b'False)')  # A timer's.
        assert not unregistered.done()
        running.get(f'/send?{UNREGISTERED}')
        assert unregistered.result(30)[2] == f"(b'', {UNREGISTERED}, False)".encode()


def test_signal_wait_ends_with_the_worker(start):
    running = start()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waits = pool.submit(running.get, f'/signal_wait?{UNREGISTERED}')
        wait_until(lambda: wanting(running) == 1)
        running.process.send_signal(signal.SIGTERM)
        assert waits.result(30)[2] == b'error waiting for signal'


def test_signals_to_another_server_hold_nobody_up(start, held_line):
    other = start(*SERVES, protocol='uwsgi-socket', cores=2 * WAITING)
    line = held_line(other.port)
    running = start()
    answers = answers_beside(running, [f'/send?{SECOND},127.0.0.1:{line.port}'] * WAITING,
                             waiting=lambda: line.held, release=line.release)
    assert answers == [b'None'] * WAITING
    assert running.get(f'/send?{UNREGISTERED},/no/such/socket')[2] == b'OSError'


def test_signal_reaches_the_worker_it_is_for(start):
    running = start('--processes', '2')
    running.get(f'/send?{SECOND}')
    running.wait_for_log('second has run in worker 2')


def test_signals_may_be_registered_while_serving(start):
    running = start()
    assert running.get('/add')[2] == b'(None, True)'
    running.wait_for_log('late timer has run in worker 1')
