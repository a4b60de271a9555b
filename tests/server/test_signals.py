"""uWSGI signals, timers, and the graceful end of a worker."""
import collections
import os
import re
import signal
import threading

import pytest

CORES = 3


@pytest.fixture
def start(server):
    return lambda *options, cores=CORES: server('signals.py', '--master', *options, cores=cores)


@pytest.mark.smoke
def test_signal_is_served_while_every_core_is_taken(start):
    """Each request holds its core until the handler, which waits itself, has run."""
    running = start()
    results, _ = running.get_all(['/signal?1'] * CORES)
    assert [r[2] for r in results] == [b'done'] * CORES


def test_signals_under_load(start):
    running = start(cores=30)
    results, _ = running.get_all(['/signal?1', '/wait?0.1', '/wait?0'] * 10)
    assert [r[2] for r in results] == [b'done'] * 30


def test_timer_runs_while_idle(start):
    running = start()
    running.wait_for_log('timer 2 in', timeout_s=20)


def test_timer_runs_while_every_core_is_taken(start):
    running = start()
    results, _ = running.get_all(['/timer'] * CORES)
    assert [r[2] for r in results] == [b'done'] * CORES


def test_handler_that_raises_does_not_end_the_worker(start):
    running = start()
    pids = running.worker_pids()
    for _ in range(5):
        assert running.get('/signal?2')[2] == b'done'
    assert running.worker_pids() == pids
    assert 'SystemExit: in a handler' in running.log and 'Respawned' not in running.log


def test_signal_reaches_every_worker(start):
    running = start('--processes', '3')
    running.get('/all')
    for worker in (1, 2, 3):
        running.wait_for_log(f'worker {worker} has it')


class Load:
    """Clients that ask one request after another, each on a connection of its own."""

    def __init__(self, running, path, clients):
        self.running, self.path, self.enough = running, path, threading.Event()
        self.answers, self.failures = 0, []
        self.threads = [threading.Thread(target=self.ask) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def ask(self):
        while not self.enough.is_set():
            try:
                status, _, body = self.running.get(self.path)
                assert (status, body) == (200, b'done')
                self.answers += 1
            except Exception as error:
                self.failures.append(error)
                return

    def end(self):
        self.enough.set()
        for thread in self.threads:
            thread.join(60)
        assert self.failures == [] and self.answers > len(self.threads)


@pytest.mark.smoke
def test_reload_loses_no_request(start):
    """Requests in flight end on the old worker, those that come meanwhile wait for the new one."""
    running = start(cores=30)
    old = running.worker_pids()
    load = Load(running, '/wait?0.2', 20)
    running.wait_for_log('GET /wait', count=20)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_log('tornado: [0-9]+ cores on fibers', count=2)
    running.wait_for_log('GET /wait', count=120)
    load.end()
    assert set(running.worker_pids()).isdisjoint(old)
    assert 'worker-reload-mercy is over' not in running.log


def test_worker_told_to_reload_ends_its_requests_first(start):
    running = start(cores=30)
    old, = running.worker_pids()
    load = Load(running, '/wait?0.2', 20)
    running.wait_for_log('GET /wait', count=20)
    os.kill(old, signal.SIGHUP)
    running.wait_for_log('Respawned uWSGI worker 1')
    running.wait_for_log('GET /wait', count=80)
    load.end()
    assert running.worker_pids() != [old]


def test_max_requests_loses_no_request(start):
    running = start('--max-requests', '40', '--min-worker-lifetime', '0', cores=20)
    load = Load(running, '/wait?0.02', 10)
    running.wait_for_log('Respawned uWSGI worker 1', count=2)
    load.end()
    served = collections.Counter(re.findall(r'\[pid: (\d+)\|app', running.log))
    assert max(served.values()) <= 40 + 20  # A worker ends those that its cores have.


def test_application_may_ask_for_a_reload(start):
    running = start(cores=10)
    assert running.get('/reload')[2] == b'done'
    running.wait_for_log('tornado: [0-9]+ cores on fibers', count=2)
    assert running.get('/wait?0')[2] == b'done'


def test_requests_that_wait_as_the_mercy_ends_are_answered(server):
    running = server('basic.py', '--worker-reload-mercy', '1')
    with running.connect() as connection:
        connection.sendall(b'GET /sleep?60 HTTP/1.0\r\n\r\n')
        assert running.get('/sleep?0')[0] == 200
        running.process.send_signal(signal.SIGHUP)
        assert running.process.wait(20) == 17
        assert b' 503 ' in connection.makefile('rb').readline()
    assert 'requests unfinished' not in running.log
