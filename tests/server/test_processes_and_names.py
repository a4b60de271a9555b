"""Child processes, file locks and slow name look-ups suspend the request that waits for them."""
import pathlib

import pytest

from overlap import REQUESTS, ask_at_once, assert_far_below_serial, assert_overlap
from services import wait_until

SIGKILL = 9
PROCESSES = {
    '/run': lambda n: f'{n} {n % 5} out {n} err {n}',
    '/timeout': lambda n: f'{n} {-SIGKILL}',
    '/waitpid': lambda n: f'{n} True {n}',
    '/fork': lambda n: f'{n} {n}',
    '/pipe': str,
}
CLOSED = ['/closed', '/closed_natively', '/replaced_natively']
NAMES = {
    '/getaddrinfo': lambda n: f'127.0.0.{n}',
    '/gethostbyname': lambda n: f'127.0.0.{n}',
    '/create_connection': lambda n: f'{n} ConnectionRefusedError',
}


def children(process):
    return pathlib.Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()


@pytest.mark.parametrize('path', PROCESSES)
@pytest.mark.smoke
def test_requests_that_wait_for_a_process_overlap(server, path):
    running = server('with_processes.py', cores=REQUESTS)
    descriptors = running.descriptors()
    # Each waits a second: forking a large process takes its time too, one after another.
    assert_overlap(running, path, PROCESSES[path], waits_each=5)
    assert children(running.process) == []
    wait_until(lambda: running.descriptors() == descriptors, 'descriptors to be closed')


@pytest.mark.parametrize('path', CLOSED)
def test_process_is_waited_for_whose_descriptor_somebody_closes(server, path):
    running = server('with_processes.py', cores=4)
    descriptors = running.descriptors()
    assert ask_at_once(running, path, 4)[0] == [f'{n} {n}' for n in range(4)]
    wait_until(lambda: running.descriptors() == descriptors, 'descriptors to be closed')


def test_child_process_may_change_who_it_is(server):
    running = server('with_processes.py', cores=20)
    answers, _ = ask_at_once(running, '/run_as', 20)
    assert answers == [f'{n} {n}' for n in range(20)]


def test_pipes_to_processes_carry_more_than_they_hold(server):
    running = server('with_processes.py', cores=20)
    answers, _ = ask_at_once(running, '/communicate', 20)
    assert answers == [f'{n} 0 True' for n in range(20)]


def test_requests_wait_for_a_file_that_another_has_locked(server, tmp_path):
    counter = tmp_path / 'counter'
    counter.write_text('0')
    running = server('with_processes.py', cores=50, environ={'LOCK_FILE': str(counter)})
    answers, _ = ask_at_once(running, '/add_one', 50)
    assert answers == [str(n) for n in range(50)]
    assert counter.read_text() == '50'


@pytest.mark.parametrize('path', NAMES)
def test_slow_name_look_ups_overlap(server, slow_names, path):
    running = server('with_processes.py', cores=REQUESTS, launcher=slow_names)
    assert_overlap(running, path, NAMES[path])


def test_answers_are_those_of_threads(threaded_server, tmp_path):
    counter = tmp_path / 'counter'
    counter.write_text('0')
    running = threaded_server('with_processes.py', environ={'LOCK_FILE': str(counter)})
    for path, answer in PROCESSES.items():
        assert ask_at_once(running, path, 8)[0] == [answer(n) for n in range(8)]
    for path in CLOSED:
        assert ask_at_once(running, path, 4)[0] == [f'{n} {n}' for n in range(4)]
    assert ask_at_once(running, '/communicate', 8)[0] == [f'{n} 0 True' for n in range(8)]
    ask_at_once(running, '/add_one', 8)
    assert counter.read_text() == '8'
