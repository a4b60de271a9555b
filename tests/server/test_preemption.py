"""A request that computes gives way where CPython would switch threads, and nowhere else."""
import contextlib
import http.client
import statistics
import threading
import time
from pathlib import Path

import pytest

from test_isolation import ask_all, expected_of_programs, numbers
from test_options import HELLO, assert_refused, command

ROUNDS = 4_000_000


def work(rounds):
    value = 0
    for number in range(rounds):
        value = (value * 31 + number) % 1000003
    return value


class InBackground:
    """Requests under way; answers() waits for them."""

    def __init__(self, running, path, count):
        self.results = [None] * count
        self.threads = [threading.Thread(target=self.ask, args=(running, path, i), daemon=True) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def ask(self, running, path, index):
        with contextlib.suppress(http.client.HTTPException, OSError):  # Killed, with its worker.
            self.results[index] = running.get(path, timeout_s=120)[2].decode()

    def under_way(self):
        return all(thread.is_alive() for thread in self.threads)

    def answers(self):
        for thread in self.threads:
            thread.join(130)
        return self.results


def compute(running, count, rounds=ROUNDS):
    """Starts `count` computations and waits until the first of them computes."""
    begun = running.log.count('computing\n')
    background = InBackground(running, f'/compute?{rounds}', count)
    running.wait_for_log('computing\n', count=begun + 1)
    return background


def seconds_of(answers):
    """From the beginning of the first computation to the end of the last."""
    spans = [tuple(map(float, answer.split()[1:])) for answer in answers]
    return max(end for _, end in spans) - min(begin for begin, _ in spans)


def assert_quick_beside(running, count):
    """Quick requests are served, in a few turns each, beside computations that end only when one of them says so."""
    begun = running.log.count('computing\n')
    background = InBackground(running, '/compute_until_told?60', count)
    running.wait_for_log('computing\n', count=begun + count)
    latencies = []
    for _ in range(15):
        started = time.monotonic()
        running.get('/hello')
        latencies.append(time.monotonic() - started)
    assert background.under_way()
    running.get('/tell')
    assert background.answers() == ['told, all right'] * count
    assert statistics.median(latencies) < 20 * (count + 1) * 0.010, latencies  # Turns of the default quantum.


@pytest.mark.smoke
@pytest.mark.parametrize('count', [2, 10])
def test_quick_requests_are_served_while_others_compute(server, count):
    running = server('compute.py')
    assert_quick_beside(running, count)
    assert 'kept the GIL' not in running.log


def test_quick_requests_come_after_computations_without_a_quantum(server):
    running = server('compute.py', '--tornado-quantum', '0')
    background = compute(running, 2)
    assert int(running.get('/hello')[2]) >= 1
    background.answers()
    assert running.get('/preempted')[2] == b'0'


def test_none_of_ten_computations_is_starved(server):
    running = server('compute.py')
    spans = [tuple(map(float, answer.split()[1:])) for answer in compute(running, 10, ROUNDS // 4).answers()]
    ends = [end for _, end in spans]
    whole = max(ends) - min(begin for begin, _ in spans)
    # In turn the first would end after a tenth of the whole.
    assert max(ends) - min(ends) < whole / 2


def test_fraction_of_a_millisecond_is_a_quantum(server):
    running = server('compute.py', '--tornado-quantum', '0.2')
    seconds = seconds_of(compute(running, 2, ROUNDS // 4).answers())
    # Far more often than the switch interval of 5 ms allows by itself.
    assert int(running.get('/preempted')[2]) > 2 * seconds / 0.005


# --- Where it must not give way ---


PLACES = ['no_suspend', 'finaliser', 'far_below_a_finaliser', 'finaliser_of_collection',
          'weakref_callback_of_collection', 'gc_callback',
          'signal_handler', 'child', 'queue_of_asyncio']


def beside_two_that_count(running, path):
    """The answer to `path`, while two other requests count."""
    counting = InBackground(running, '/count_for?0.8', 2)
    answer = running.get(path)[2]
    counting.answers()
    return answer


@pytest.mark.parametrize('place', PLACES)
def test_nobody_else_runs_in(server, place):
    running = server('compute.py', '--tornado-quantum', '1')
    assert beside_two_that_count(running, f'/alone?{place}') == b'0 True True'


def test_others_run_beside_a_loop_of_the_request(server):
    running = server('compute.py', '--tornado-quantum', '1')
    assert int(beside_two_that_count(running, '/beside?own_loop')) > 0


def test_c_code_that_keeps_the_gil_is_named(server):
    running = server('compute.py')
    running.get('/keep_gil?400000')
    running.wait_for_log(r'tornado: GET /keep_gil\?400000 kept the GIL for 0\.[2-4]')


def test_watchdog_shares_no_descriptor(server):
    running = server('compute.py')
    tasks = Path(f'/proc/{running.worker_pids()[0]}/task')

    def descriptors():
        """Of each watchdog; it may be starting yet."""
        return [{int(fd.name) for fd in (task / 'fd').iterdir()} for task in tasks.iterdir()
                if (task / 'comm').read_text() == 'uwsgi-watchdog\n']

    deadline = time.monotonic() + 30
    while not ((found := descriptors()) and found[0] <= {0, 1, 2}) and time.monotonic() < deadline:
        running.get('/hello')
    assert len(found) == 1 and found[0] <= {0, 1, 2}


def test_watchdog_rests_while_a_request_blocks_with_the_gil_given_up(server):
    running = server('compute.py', '--tornado-quantum', '1')
    assert float(running.get('/block?1')[2]) < 0.3
    assert 'kept the GIL' not in running.log


# --- With what else takes part ---


def test_requests_and_competing_threads_get_on(server):
    running = server('compute.py')
    running.get('/start_threads?3')
    assert_quick_beside(running, 2)
    running.get('/stop_threads')
    assert 'kept the GIL' not in running.log


@pytest.mark.parametrize('quantum', ['1', '10'])
def test_computations_come_on_beside_a_thread_that_computes(server, quantum):
    running = server('compute.py', '--tornado-quantum', quantum)
    alone = compute(running, 2, ROUNDS // 2).answers()
    running.get('/start_threads?1')
    beside = compute(running, 2, ROUNDS // 2).answers()
    running.get('/stop_threads')
    assert seconds_of(beside) < 12 * seconds_of(alone)


@contextlib.contextmanager
def computing(running, count):
    """So many requests that compute meanwhile."""
    begun = running.log.count('computing\n')
    background = InBackground(running, '/compute_until_told?60', count)
    running.wait_for_log('computing\n', count=begun + count)
    yield
    running.get('/tell')
    assert background.answers() == ['told, all right'] * count


# A thread that waits for the GIL is not passed over by requests that give way to each other, counted in their turns.


def test_threads_begin_beside_many_requests_that_compute(server):
    running = server('compute.py', '--tornado-quantum', '1', cores=30)
    with computing(running, 10):
        answers, _ = running.get_all(['/threads_begun?20'] * 10)
    turns = [int(number) for status, _, body in answers for number in body.split()]
    assert len(turns) == 200 and statistics.median(turns) < 20, sorted(turns)


def test_thread_has_its_turns_among_requests_that_compute(server):
    running = server('compute.py', '--tornado-quantum', '1', cores=30)
    with computing(running, 10):
        assert int(running.get('/thread_among_requests?1000', timeout_s=60)[2]) > 1000 / 50


@pytest.mark.parametrize('interval', ['1e-5', '1.0'])
def test_switch_interval_of_the_application_does_not_matter(server, interval):
    running = server('compute.py')
    running.get(f'/set_switch_interval?{interval}')
    assert_quick_beside(running, 2)
    assert 'kept the GIL' not in running.log


def test_asyncio_runs_in_requests_that_compute(server):
    running = server('compute.py', '--tornado-quantum', '1')
    assert ask_all(running, 'asyncio_run', 10) == numbers(10)
    assert int(running.get('/preempted')[2]) > 0


def test_preempted_requests_hold_their_locks(server):
    running = server('compute.py', '--tornado-quantum', '0.5')
    assert running.get_all(['/add_under_lock?50'] * 5)[0][0][2] == b'added'
    assert running.get('/read_guarded')[2] == b'250'
    assert int(running.get('/preempted')[2]) > 0


def test_module_that_computes_is_imported_once(server):
    running = server('compute.py', '--tornado-quantum', '1')
    answers = ask_all(running, 'import_slowly', 5)
    assert len(set(answers)) == 1
    assert answers[0].split()[1] == '1'
    assert int(running.get('/preempted')[2]) > 0


def test_errno_survives_preemption(server):
    running = server('compute.py', '--tornado-quantum', '0.2')
    assert ask_all(running, 'errno_survives', 4) == ['survived'] * 4
    assert int(running.get('/preempted')[2]) > 0


def test_programs_that_are_preempted_compute_the_same(server):
    running = server('programs.py', '--tornado-quantum', '0.2', cores=60)
    results, _ = running.get_all([f'/compute?{seed}' for seed in range(60)])
    assert [result[2].decode() for result in results] == expected_of_programs(range(60))


# --- The end ---


def test_computations_end_before_a_worker_that_drains(server):
    running = server('compute.py')
    background = compute(running, 3, ROUNDS // 4)
    running.wait_for_log('computing\n', count=3)
    running.drain()
    assert {int(answer.split()[0]) for answer in background.answers()} == {work(ROUNDS // 4)}


@pytest.mark.parametrize('options', [[], ['--master']], ids=['alone', 'master'])
def test_worker_that_is_killed_while_requests_compute_ends_quietly(server, options):
    running = server('compute.py', *options)
    InBackground(running, '/compute?1000000000', 3)
    running.wait_for_log('computing\n', count=3)
    running.process.send_signal(2)
    running.wait_for_log('was told to end')
    running.process.send_signal(2)  # At once, whatever is under way.
    assert running.process.wait(30) >= 0
    assert 'terminate called' not in running.log and 'Fatal Python error' not in running.log


# --- The option ---


@pytest.mark.parametrize('quantum', ['-1', '0.05', 'ten', '60001', '1e1', 'nan', '', '5ms', '1.2.3'])
def test_wrong_quantum_is_refused(quantum, tmp_path):
    assert_refused(command('--tornado', '10', '--tornado-quantum', quantum, '--wsgi-file', HELLO),
                   '--tornado-quantum takes milliseconds from 0.1 to 60000, or 0, not ', tmp_path)


@pytest.mark.parametrize('quantum', ['0', '0.1', '12.5', '60000'])
def test_right_quantum_serves(server, quantum):
    assert server('basic.py', '--tornado-quantum', quantum).get()[2] == b'hello'


def test_requests_compute_under_a_user_lock_in_turn(server):
    running = server('compute.py')
    assert ask_all(running, 'under_user_lock', 1) == ['done']
    results, _ = running.get_all(['/under_user_lock?0.4'] * 4)
    assert [body for _, _, body in results] == [b'done'] * 4
