"""uwsgi.lock(): held by a suspended request it stops those who want it, and nobody else."""
import concurrent.futures
import os
import re
import signal

import pytest

from conftest import APPS
from overlap import QUICK, WAITING, answers_beside, wait_until

CORES = WAITING + QUICK + 10
MULE = ['--master', '--mule=' + str(APPS / 'lock_holder.py')]


@pytest.fixture(params=['mutex', 'ipcsem'])
def start(server, request):
    engine = ['--lock-engine', 'ipcsem'] if request.param == 'ipcsem' else []
    return lambda *options: server('user_locks.py', '--locks', '3', *engine, *options, cores=CORES)


@pytest.fixture
def mutexes(server):
    return lambda *options: server('user_locks.py', '--locks', '3', *options, cores=CORES)


def waiting(running):
    return int(running.get('/count')[2])


def wanting(running):
    return int(running.get('/wanting')[2])


def tell_mule(running, order):
    running.get('/tell_mule?' + order.replace(' ', '-'))
    running.wait_for_log('mule begins: ' + order)


@pytest.mark.smoke
def test_lock_held_by_a_suspended_request_holds_nobody_else_up(start):
    """It waits for its release; 50 want the lock, and get it in the order they came."""
    running = start()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        holder = pool.submit(running.get, '/hold')
        wait_until(lambda: waiting(running) == 1)
        assert answers_beside(running, [f'/want?{n}' for n in range(WAITING)], waiting=lambda: wanting(running),
                              release=lambda: running.get('/release')) == [b'had'] * WAITING
        assert holder.result(30)[2] == b'held'


@pytest.mark.smoke
def test_one_at_a_time_has_the_lock(start):
    """Each waits while it holds it."""
    running = start()
    results, _ = running.get_all([f'/take_turns?{n}' for n in range(WAITING)] + ['/'] * QUICK)
    assert [r[2] for r in results] == [b'1'] * WAITING + [b'hello'] * QUICK
    assert sorted(map(int, running.get('/order')[2].split())) == list(range(WAITING))


def test_lock_is_had_in_order(mutexes):
    """Asked for by one after another, it is had so too."""
    running = mutexes()
    numbers = range(10)
    running.get('/lock_only')
    with concurrent.futures.ThreadPoolExecutor(len(numbers)) as pool:
        asked = []
        for number in numbers:
            asked.append(pool.submit(running.get, f'/want?{number}'))
            wait_until(lambda: wanting(running) == len(asked))
        assert running.get('/unlock_only')[2] == b'unlocked'  # By another request, as uWSGI allows.
        assert [future.result(30)[2] for future in asked] == [b'had'] * len(asked)
    assert running.get('/order')[2].split() == [b'%d' % n for n in numbers]


def test_locks_are_independent(mutexes):
    running = mutexes()
    running.get('/lock_only')
    assert [running.get(f'/is_locked?{n}')[2] for n in range(4)] == [b'True', b'False', b'False', b'False']
    assert running.get('/take_turns?1')[2] == b'1'
    running.get('/unlock_only')
    assert running.get('/is_locked?0')[2] == b'False'


def test_holder_that_computes_gives_way(mutexes):
    """Preempted with the lock in hand: who wants it is suspended, others are served."""
    running = mutexes()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        computing = pool.submit(running.get, '/compute')
        wait_until(lambda: running.get('/computing')[2] == b'True')
        assert answers_beside(running, ['/want?1'] * 3, waiting=lambda: wanting(running),
                              release=lambda: running.get('/release')) == [b'had'] * 3
        assert computing.result(30)[2] == b'computed'


@pytest.mark.smoke
def test_lock_held_by_another_process_holds_nobody_else_up(start):
    """A mule has it; 50 requests wait until it lets go."""
    running = start(*MULE)
    tell_mule(running, 'lock')
    running.wait_for_log('mule has done: lock')
    assert running.get('/is_locked?0')[2] in (b'True', b'False')  # uWSGI cannot tell of a semaphore.
    assert answers_beside(running, [f'/want?{n}' for n in range(WAITING)], waiting=lambda: wanting(running),
                          release=lambda: tell_mule(running, 'unlock')) == [b'had'] * WAITING


def test_another_process_gets_the_lock_of_a_request(start):
    running = start(*MULE)
    running.get('/lock_only')
    tell_mule(running, 'lock')
    assert 'mule has done: lock' not in running.log
    running.get('/unlock_only')
    running.wait_for_log('mule has done: lock')
    tell_mule(running, 'unlock')
    assert running.get('/want?1')[2] == b'had'


def test_workers_exclude_each_other(start, tmp_path):
    """Each request adds one in a file, with a wait between reading and writing."""
    count = tmp_path / 'count'
    count.write_text('')
    running = start('--master', '--processes', '2')
    results, _ = running.get_all([f'/add?{count}'] * 3 * WAITING)
    assert {r[0] for r in results} == {200}
    assert int(count.read_text()) == 3 * WAITING
    assert {r[2] for r in results} <= {b'1', b'2'}


def test_lock_of_a_process_that_died_is_had(mutexes):
    running = mutexes(*MULE)
    tell_mule(running, 'lock')
    running.wait_for_log('mule has done: lock')
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(running.get, '/want?1')
        wait_until(lambda: wanting(running) == 1)
        mule, = re.findall(r'spawned uWSGI mule 1 \(pid: (\d+)\)', running.log)
        os.kill(int(mule), signal.SIGKILL)
        assert asked.result(30)[2] == b'had'
    assert 'a process holding a robust mutex died. recovering' in running.log
    assert running.get('/want?2')[2] == b'had'


def test_lock_that_many_read_in_a_process_that_died_is_had(mutexes):
    running = mutexes('--master', '--sharedarea', '1')
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(running.get, '/read')
        wait_until(lambda: waiting(running) == 3)
        os.kill(int(re.findall(r'spawned uWSGI worker 1 \(pid: (\d+)', running.log)[0]), signal.SIGKILL)
    running.wait_for_log('Respawned uWSGI worker 1')
    assert running.get('/write')[2] == b'written'


@pytest.mark.parametrize('who', ['on_the_loop', 'from_thread'])
def test_others_than_requests_wait_for_a_request(start, who):
    """A task on the worker's event loop, which the requests outrun, and a thread of the application."""
    running = start()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        holder = pool.submit(running.get, '/hold')
        wait_until(lambda: waiting(running) == 1)
        other = pool.submit(running.get, '/' + who)
        results, _ = running.get_all(['/'] * QUICK)
        assert [r[2] for r in results] == [b'hello'] * QUICK and not other.done()
        running.get('/release')
        assert holder.result(30)[2] == b'held' and other.result(30)[2].startswith(b'had')
    assert running.get('/want?1')[2] == b'had'


def test_free_lock_is_had_where_nothing_may_wait(mutexes):
    running = mutexes()
    results, _ = running.get_all(['/unguarded'] * WAITING)
    assert [r[2] for r in results] == [b'had'] * WAITING
    assert running.get('/fork')[2] == b'0'


def test_worker_that_stops_for_good_says_so(mutexes):
    running = mutexes('--master')
    running.get('/lock_only')
    with running.connect() as connection:
        connection.sendall(b'GET /stop HTTP/1.0\r\n\r\n')
        running.wait_for_log(r'tornado: worker 1 is deadlocked: .* a uWSGI lock \(user 0\) that another')
    os.kill(running.worker_pids()[0], signal.SIGKILL)
    running.wait_for_log('tornado: [0-9]+ cores on fibers', count=2)
    assert running.get('/want?1')[2] == b'had'
