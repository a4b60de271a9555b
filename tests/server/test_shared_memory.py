"""Queues and shared areas: requests wait for what others put there, and for their locks."""
import concurrent.futures

import pytest

from conftest import APPS
from overlap import QUICK, WAITING, answers_beside, assert_far_below_serial, wait_until

CORES = WAITING + QUICK + 10
AREA = ['--sharedarea', 'pages=1']
QUEUE = ['--queue', '100']


@pytest.fixture
def start(server):
    return lambda *options, **more: server('shared_memory.py', *options, cores=CORES, **more)


def wanting(running):
    return int(running.get('/wanting')[2])


@pytest.mark.smoke
def test_requests_that_pull_from_the_queue_hold_nobody_up(start):
    """What 50 others push reaches each of them once."""
    running = start(*QUEUE)

    def push():
        results, _ = running.get_all([f'/push?message {n}'.replace(' ', '-') for n in range(WAITING)])
        assert [r[2] for r in results] == [b'True'] * WAITING

    pulled = answers_beside(running, ['/pull'] * WAITING, waiting=lambda: wanting(running), release=push)
    assert sorted(pulled) == sorted(b'message-%d' % n for n in range(WAITING))


def test_every_queue_function(start):
    assert start(*QUEUE).get('/every_queue_function')[2] == \
        b"[4, 0, b'1', b'3', [b'3', b'2'], b'3', b'0', True, b'seven', None]"


@pytest.mark.smoke
def test_waits_for_a_shared_area_hold_nobody_up(start):
    running = start(*AREA)
    assert answers_beside(running, ['/wait_for_update?10,0'] * WAITING, waiting=lambda: wanting(running),
                          release=lambda: running.get('/update?7')) == [b'(True, 7)'] * WAITING


def test_waits_for_a_shared_area_time_out(start):
    running = start(*AREA)
    results, seconds = running.get_all(['/wait_for_update?100,1'] * WAITING + ['/'] * QUICK)
    assert [r[2] for r in results] == [b'(False, 0)'] * WAITING + [b'hello'] * QUICK
    assert_far_below_serial(seconds, WAITING, 1)
    assert running.get('/wrong_waits')[2] == b"['ValueError', 'ValueError', 'ValueError', 'ValueError', 'TypeError']"


@pytest.mark.parametrize('engine', [[], ['--lock-engine', 'ipcsem']], ids=['rwlock', 'ipcsem'])
def test_writers_of_a_shared_area_exclude_each_other(start, engine):
    """Who holds the lock over a wait may read and write under it; two workers' requests count exactly."""
    running = start(*AREA, '--master', '--processes', '2', *engine)
    results, _ = running.get_all(['/add'] * WAITING + ['/'] * QUICK)
    assert [r[2] for r in results] == [b'1'] * WAITING + [b'hello'] * QUICK
    assert running.get('/sum')[2] == b'%d' % WAITING


def test_readers_of_a_shared_area_share_it(start):
    """All are in at once, a writer waits for the last, and nobody else waits."""
    running = start(*AREA)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        writer = []

        def release():
            writer.append(pool.submit(running.get, '/increment'))
            wait_until(lambda: wanting(running) == 1)
            assert running.get('/')[2] == b'hello'
            running.get('/release')

        assert answers_beside(running, ['/read_together'] * WAITING, release=release,
                              waiting=lambda: int(running.get('/count')[2])) == [b'0'] * WAITING
        assert writer[0].result(30)[2] == b'incremented'
    assert running.get('/sum')[2] == b'1'


def test_area_locked_by_another_process_holds_nobody_else_up(start):
    running = start(*AREA, '--master', '--mule=' + str(APPS / 'lock_holder.py'))
    running.get('/tell_mule?lock-area')
    running.wait_for_log('mule has done: lock area')
    assert answers_beside(running, ['/increment'] * WAITING, waiting=lambda: wanting(running),
                          release=lambda: running.get('/tell_mule?unlock-area')) == [b'incremented'] * WAITING
    assert running.get('/sum')[2] == b'%d' % WAITING
