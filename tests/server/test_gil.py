"""The GIL among requests, C callbacks, threads, signal handlers and processes."""
import os
import signal

import pytest

from conftest import EMBEDDED, python_version
from test_isolation import ask_all, numbers


@pytest.fixture
def gil(server):
    return server('gil.py', cores=30)


@pytest.mark.smoke
def test_requests_wait_inside_ctypes_callbacks(gil):
    assert ask_all(gil, 'callback', 20) == [str(number + 1) for number in range(20)]


def test_callbacks_nest_and_wait_at_every_level(gil):
    assert ask_all(gil, 'nested_callbacks', 20) == numbers(20)


def test_requests_wait_inside_a_comparator_of_qsort(gil):
    assert ask_all(gil, 'quicksort', 20) == numbers(20)


def test_requests_wait_inside_sqlite_functions(gil):
    assert ask_all(gil, 'sql_function', 20) == [str(number * 190) for number in range(20)]


@pytest.mark.smoke
def test_background_threads_go_on_while_the_loop_sleeps(gil):
    for ticker in range(8):
        gil.get(f'/start_ticker?{ticker}')
    for ticker in range(8):
        gil.wait_for_log(f'ticker {ticker} is done', timeout_s=20)


def test_background_thread_goes_on_while_requests_are_served(gil):
    gil.get('/start_burner')
    before = int(gil.get('/progress_of_burner')[2])
    ask_all(gil, 'pid', 100)
    assert int(gil.get('/stop_burner')[2]) > before


def test_computing_thread_does_not_stop_requests(gil):
    gil.get('/start_burner')
    results, seconds = gil.get_all(['/nap'] * 30)
    gil.get('/stop_burner')
    assert [result[2] for result in results] == [b'rested'] * 30
    assert seconds < 30 * 0.1 / 2


def test_mutex_of_the_gil_may_be_locked_for_a_look(gil):
    """Taken for the GIL given up it would have each wait after it keep the worker."""
    if python_version() < (3, 13):
        pytest.skip('earlier ones do not look')
    assert gil.get('/add_pending_call')[2] == b'called'
    results, seconds = gil.get_all(['/nap'] * 30)
    assert [result[2] for result in results] == [b'rested'] * 30
    assert seconds < 30 * 0.1 / 2


def test_switches_keep_the_gil(gil):
    """Given up and taken at each switch, it would be another thread's each time (CPython from 3.12 on)."""
    if EMBEDDED:
        pytest.skip('the count is of the debug build')
    assert int(gil.get('/switch')[2]) < 1000 / 10


def test_computing_thread_and_computing_request_share_the_cpu(gil):
    gil.get('/start_burner')
    request, thread = map(int, gil.get('/compete')[2].split())
    gil.get('/stop_burner')
    assert request > (request + thread) / 5
    assert thread > (request + thread) / 5


def test_requests_start_and_join_threads(gil):
    assert ask_all(gil, 'start_threads', 20) == numbers(20)


def test_current_frames_list_each_core_under_its_name(gil):
    results, _ = gil.get_all(['/frames'] + ['/stand'] * 19)
    assert results[0][2] == b'19 True', gil.log[-3000:]
    names = {result[2] for result in results[1:]}
    assert len(names) == 19 and all(name.startswith(b'uWSGIWorker1Core') for name in names)


def test_faulthandler_shows_every_waiting_request(gil):
    results, _ = gil.get_all(['/dump'] + ['/stand'] * 19)
    assert results[0][2] == b'19 1', gil.log[-3000:]


def test_signal_handlers_run_while_the_worker_is_idle(gil):
    os.kill(gil.process.pid, signal.SIGALRM)
    gil.wait_for_log(f'handled {int(signal.SIGALRM)}', timeout_s=20)


@pytest.mark.parametrize('routes', [['/kill_and_sleep'], ['/kill_when_woken', '/wake']])
def test_signal_handlers_run_while_requests_sleep(gil, routes):
    gil.get_all(routes)
    assert gil.log.index(f'handled {int(signal.SIGWINCH)}') < gil.log.index('rested')


def test_request_may_signal_the_thread_it_runs_on(gil):
    assert gil.get('/signal_myself')[2] == b'True'
    assert gil.get('/signal_from_a_thread')[2] == b'True'


def test_only_the_loop_is_the_main_thread_to_signal(gil):
    assert b'main thread' in gil.get('/set_handler')[2]


def test_children_of_requests_leave_them_alone(gil):
    assert ask_all(gil, 'fork', 20) == numbers(20)
    assert gil.get('/pid')[2].decode() == str(gil.process.pid)


@pytest.mark.parametrize('route', ['/fork_and_return', '/fork_and_raise'])
def test_child_that_comes_back_to_the_server_does_not_serve(gil, route):
    with gil.connect() as client:
        client.sendall(f'GET {route} HTTP/1.0\r\n\r\n'.encode())
        answer = b''.join(iter(lambda: client.recv(65536), b''))
    assert answer.count(b'HTTP/1.0 200') == 1
    pid, status = answer.rsplit(b'\r\n\r\n', 1)[1].split()
    assert int(pid) == gil.process.pid
    assert status == (b'0' if route == '/fork_and_return' else b'1')
    assert gil.get('/pid')[2].decode() == str(gil.process.pid)


def test_multiprocessing_works_in_requests(gil):
    assert ask_all(gil, 'process', 10) == [str(number * 2) for number in range(10)]


def test_subprocesses_of_requests_overlap(gil):
    results, seconds = gil.get_all([f'/command?{number}' for number in range(20)])
    assert [result[2].decode() for result in results] == numbers(20)
    assert seconds < 20 * 0.1
