"""Faults injected while hundreds of requests wait: of the kernel, of signals, children, clocks, lines and callbacks.

TORNADO_SEED repeats a run; the long runs are tests/soak/test_chaos.py.
"""
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest

import clients
from conftest import APPS, ASAN, ROOT, asan_environment, command, free_port
from services import accepts, wait_until
from upstreams import started

sys.path.insert(0, str(ROOT / 'tests' / 'faults'))
from bad_line import BadLine  # noqa: E402
from chaos_load import Load  # noqa: E402
from preloaded import Faults  # noqa: E402
from seeds import reproduced_by  # noqa: E402

SECONDS = 1
RELOAD_CODE = 17  # What uWSGI ends with at a SIGHUP without a master.
CLIENTS = 30


@pytest.fixture
def chaos(server, upstream):
    """Starts chaos.py with faults; gives what a load of it said."""
    def start(faults='', environ=None, seconds=SECONDS, beside=None, **more):
        running = server('chaos.py', '--tornado-client-disconnect', '--disable-logging', cores=CLIENTS + 10,
                         environ={'UPSTREAM_PORT': str(upstream.port), 'CHAOS_FAULTS': faults, **(environ or {})}, **more)
        load = Load([running.port], CLIENTS).start()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            (beside or time.sleep)(0.05)
        load.stop()
        assert not load.wrong, (reproduced_by(), load.wrong[:3], running.log[-5000:])
        assert load.outcomes['committed'] > 0, load.outcomes
        return running
    return start


def report(running):
    return json.loads(running.get('/report')[2])['faults']


def test_signals_with_handlers_of_pythons_and_profilers(chaos):
    seen = report(chaos('signals'))
    assert seen['SIGALRM'] > 20 and seen['SIGPROF'] > 20
    assert seen['handlers in requests'] == 0


def test_storms_of_children_that_end(chaos):
    seen = report(chaos('children'))
    assert seen['children'] > 5 and seen['SIGCHLD'] > 5


def test_requests_that_are_profiled(chaos):
    assert report(chaos('profile'))['calls'] > 100


def test_threads_that_outlive_their_requests(chaos):
    running = chaos('threads')
    assert report(running)['threads'] > 5


def test_callbacks_that_run_out_of_memory(chaos):
    assert report(chaos('callbacks'))['callbacks'] > 10


@pytest.mark.skipif(ASAN, reason='the sanitizer has these functions itself')
def test_kernel_that_says_again_interrupts_and_cuts_short(chaos, tmp_path):
    faults = Faults(tmp_path, percent=20)
    chaos(launcher=faults.launcher)
    counts = faults.counts()
    assert all(count > 5 for count in counts.values()), counts


@pytest.mark.skipif(ASAN, reason='the sanitizer has these functions itself')
def test_kernel_that_cuts_short_what_an_asgi_application_reads_and_sends(server, tmp_path):
    faults = Faults(tmp_path, percent=20)
    running = server('asgi.py', launcher=faults.launcher)
    body = bytes(range(256)) * 400
    for _ in range(20):
        assert running.get('/echo', 'POST', body)[::2] == (200, body)
        assert running.get('/stream?50')[2] == b''.join(b'chunk %d\n' % number for number in range(50))
    counts = faults.counts()
    assert counts['EAGAIN'] > 5 and counts['short'] > 5, counts


# --- The wall clock ---


@pytest.mark.skipif(ASAN, reason='the sanitizer has these functions itself')
def test_wall_clock_that_leaps(chaos, tmp_path):
    faults = Faults(tmp_path)
    leaps = itertools.cycle([7200, -7200, 0, 86400])

    def leap(seconds):
        faults.set_clock(next(leaps))
        time.sleep(seconds)

    chaos(launcher=faults.launcher, beside=leap)


@pytest.mark.skipif(ASAN, reason='the sanitizer has these functions itself')
def test_deadlines_do_not_go_by_the_wall_clock(server, tmp_path):
    faults = Faults(tmp_path)
    running = server('faults.py', launcher=faults.launcher)
    with running.connect() as line:
        line.sendall(b'GET /sets_timeout HTTP/1.0\r\n\r\n')
        running.wait_for_log('app: waits')
        faults.set_clock(7200)
        with running.connect() as stalled:
            stalled.sendall(b'GET /go_on HTTP/1.0\r\n')
            faults.set_clock(14400)
            assert running.get('/go_on')[2] == b'goes on'
            stalled.sendall(b'\r\n')
            assert stalled.makefile('rb').read().endswith(b'goes on')
        assert line.makefile('rb').read().endswith(b'in time')


# --- Lines to others ---


def test_lines_that_are_reset_and_half_closed_give_the_answer_or_an_error(server, upstream, postgres, loop_thread):
    http, sql = started(loop_thread, BadLine(upstream.port)), started(loop_thread, BadLine(postgres.port))
    dsn = postgres.dsn.replace(f'port={postgres.port}', f'port={sql.port}')
    running = server('faults.py', environ={'HTTP_PORT': str(http.port), 'DSN': dsn})
    paths = [f'/{kind}?{number}' for number in range(15) for kind in ('requests', 'fetch', 'stream', 'psycopg2', 'socket')]
    answers, _ = running.get_all(paths)
    outcomes = [body.decode() for _, _, body in answers]
    for path, outcome in zip(paths, outcomes):
        assert outcome in (path.partition('?')[2], 'error'), (reproduced_by(), path, outcome, running.log[-3000:])
    assert 0 < outcomes.count('error') < len(paths), http.done
    assert running.get('/live')[2] == b'0 transfers'


# --- The log is full ---


def test_full_disk_for_the_log(tmp_path):
    port = free_port()
    environment = {**os.environ, **(asan_environment() if ASAN else {})}
    options = command('--tornado', '20', '--http-socket', f'127.0.0.1:{port}', '--logto', '/dev/full', '--pythonpath', str(APPS),
                      '--wsgi-file', str(APPS / 'faults.py'))
    process = subprocess.Popen(options, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port), 'uwsgi to listen', process)
        for _ in range(3):
            assert clients.http(port, '/says').endswith(b'\r\n\r\nsaid')
            assert b' 500 ' in clients.http(port, '/fails')
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == RELOAD_CODE
    finally:
        process.kill()
        process.wait()


# --- Processes and signals of the application's ---


@pytest.mark.parametrize('route', ['fork', 'multiprocessing', 'pool', 'exec', 'spawn'])
def test_children_of_requests_while_others_wait(server, route):
    running = server('faults.py')
    answers, _ = running.get_all(['/waits?0.3'] * 10 + [f'/{route}?{number}' for number in range(3)])
    assert [body for _, _, body in answers] == [b'waited'] * 10 + [b'100', b'101', b'102'], running.log[-3000:]


def test_request_that_becomes_another_program_costs_its_worker_alone(server):
    running = server('faults.py', '--master', '--processes', '2', cores=5)
    pids = running.worker_pids()
    with running.connect() as line:
        line.sendall(b'GET /becomes HTTP/1.0\r\n\r\n')
        assert line.makefile('rb').read() == b''
    running.wait_for_log('spawned uWSGI worker', count=3)
    assert running.get('/says')[2] == b'said'
    assert len(set(running.worker_pids()) - set(pids)) == 1


@pytest.mark.parametrize('error', ['KeyboardInterrupt', 'SystemExit', 'GeneratorExit', 'MemoryError'])
def test_request_that_raises_what_ends_programs(server, error):
    running = server('faults.py')
    answers, _ = running.get_all(['/waits?0.3'] * 5 + [f'/raises?{error}'] * 5)
    assert [status for status, _, _ in answers] == [200] * 5 + [500] * 5
    assert running.get('/says')[2] == b'said'


def test_finalisers_that_block_wherever_the_collector_runs(server):
    running = server('faults.py')
    answers, _ = running.get_all(['/finalisers'] * 10 + ['/finalisers_on_loop'] * 2)
    assert [body for _, _, body in answers] == [b'finalised'] * 12
