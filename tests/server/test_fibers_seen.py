"""What the worker's requests are doing: fibers(), dump(), the dump in the log, the last words before harakiri."""
import concurrent.futures
import json
import re
import signal
import subprocess
import threading

import pytest

from services import wait_until

KINDS = {  # What they are seen to wait for.
    'recv': 'read', 'send': 'write', 'poll': 'poll', 'sleep': 'sleep', 'lock': 'lock', 'event': 'lock', 'await': 'future',
    'fetch': 'fetch', 'suspend': 'event', 'to_thread': 'future', 'pipe': 'read',
}

# From 2.0.22 on the master may say so in the moment in which the deadline passes.
UWSGI = tuple(map(int, re.findall(r'\d+', subprocess.check_output(['uwsgi', '--version'], text=True))[:3]))
KILLED = 'HARAKIRI ON WORKER 1' if UWSGI < (2, 0, 22) else 'HARAKIRI !!! worker 1 status !!!'


@pytest.fixture
def seen(server, upstream):
    def start(*options, **more):
        return server('interrupted.py', *(options or ('--tornado-request-timeout', '5')),
                      environ={'UPSTREAM_PORT': str(upstream.port)}, **more)
    return start


def hold(running, paths):
    """Connections whose requests wait."""
    held = []
    for path in paths:
        held.append(running.connect())
        held[-1].sendall(f'GET /{path} HTTP/1.0\r\n\r\n'.encode())
        running.wait_for_log(f'app: waits in {path}\n')
    return held


def close(held):
    for connection in held:
        connection.close()


@pytest.mark.smoke
def test_fibers_tell_what_each_request_waits_for(seen):
    running = seen()
    held = hold(running, KINDS)
    rows = {row['uri'].strip('/'): row for row in json.loads(running.get('/fibers')[2])}
    assert {kind: rows[kind]['waits_for'] for kind in KINDS} == KINDS
    assert {rows[kind]['state'] for kind in KINDS} == {'waits'}
    assert len({row['core'] for row in rows.values()}) == len(KINDS) + 1
    asking = rows['fibers']
    assert (asking['state'], asking['waits_for'], asking['method'], asking['client']) == ('runs', None, 'GET', '127.0.0.1')
    for row in rows.values():
        assert 0 <= row['since'] <= row['age'] + 0.1 and row['switches'] >= 1 and 1000 < row['stack'] < 1 << 20
    close(held)


def test_fibers_name_the_peer_that_is_waited_for(seen, upstream):
    running = seen()
    held = hold(running, ['requests'])

    def row():
        found, = [row for row in json.loads(running.get('/fibers')[2]) if row['uri'] == '/requests']
        return found
    wait_until(lambda: row()['waits_for'] == 'read', 'it waits for the answer')  # It imports and connects first.
    assert row()['peer'] == f'127.0.0.1:{upstream.port}' and row()['fd'] > 2
    close(held)


def test_functions_outside_requests_are_seen_too(seen):
    running = seen()
    running.get('/spawn')
    running.wait_for_log('app: waits in spawn\n')  # It begins a turn later; the next connection may be accepted before.
    row, = [row for row in json.loads(running.get('/fibers')[2]) if row['core'] is None]
    assert (row['uri'], row['waits_for']) == (None, 'stopping')


def assert_shows_stacks(text):
    assert 'GET /sleep (core ' in text and 's old, waits for sleep' in text
    assert 'time.sleep(LONG_S)' in text and 'in in_sleep' in text
    assert 'GET /await (core ' in text and 'uwsgi_tornado.await_(cleaning_up' in text


def test_dump_shows_python_stacks(seen):
    running = seen()
    held = hold(running, ['sleep', 'await'])
    assert_shows_stacks(running.get('/dump')[2].decode())
    close(held)


def test_dump_in_the_log_by_a_signal(seen):
    running = seen()
    held = hold(running, ['sleep', 'await'])
    running.process.send_signal(signal.SIGUSR2)
    running.wait_for_log('runs or holds 2 requests')
    running.wait_for_log('in in_sleep')
    running.wait_for_log('in in_await')
    assert_shows_stacks(running.log)
    close(held)


def test_dump_in_the_log_by_the_fifo(seen, tmp_path):
    running = seen('--tornado-request-timeout', '5', '--master', '--master-fifo', str(tmp_path / 'fifo'))
    held = hold(running, ['sleep', 'await'])
    running.get('/quick')
    (tmp_path / 'fifo').write_text('d')
    running.wait_for_log('in in_sleep')
    running.wait_for_log('in in_await')
    assert_shows_stacks(running.log)
    close(held)


def test_harakiri_says_who_and_where(seen):
    running = seen('--master', '--harakiri', '2')
    held = hold(running, ['sleep'])
    running.wait_for_log('Respawned uWSGI worker 1')
    before = running.log[:running.log.index(KILLED)]
    assert re.search(r'tornado: HARAKIRI: GET /sleep \(core \d+\) exceeded its time limit after [\d.]+ s; its Python stack:', before)
    assert 'time.sleep(LONG_S)' in before
    close(held)


def test_harakiri_names_those_who_die_with_it(seen):
    """Only one of them has a deadline."""
    running = seen('--master', '--route', '^/sleep harakiri:1')
    held = hold(running, ['recv', 'lock', 'sleep'])
    running.wait_for_log('Respawned uWSGI worker 1')
    assert 'tornado: HARAKIRI: GET /sleep (core ' in running.log
    for line in ('2 more requests of this worker end with it:', '  GET /recv (core ', '  GET /lock (core '):
        assert 'tornado: HARAKIRI: ' + line in running.log
    close(held)


def test_requests_stand_still_while_they_are_dumped(server):
    """Also for a request that computes, whose turn is over in the middle of it."""
    running = server('dumped.py', '--tornado-quantum', '0.1')
    done = threading.Event()

    def compute():
        while not done.is_set():
            assert running.get('/compute')[0] == 200

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        computing = [pool.submit(compute) for _ in range(4)]
        try:
            assert running.get('/dump')[2] == b'0'
        finally:
            done.set()
        for one in computing:
            one.result()


@pytest.mark.parametrize('path, who', [('holds_the_loop', r'GET /holds_the_loop on core \d+'), ('callback_holds_the_loop', "a callback of the loop")])
def test_harakiri_of_a_worker_whose_loop_stands_shows_the_running_stack(seen, path, who):
    running = seen('--master', '--harakiri', '1')
    with running.connect() as held:
        held.sendall(f'GET /{path} HTTP/1.0\r\n\r\n'.encode())
        running.wait_for_log('HARAKIRI ON WORKER 1')
        running.wait_for_log('Respawned uWSGI worker 1')
    assert re.search(rf'tornado: HARAKIRI: {who} runs; its Python stack:\n.*\n.* in holds_the_loop\n', running.log)


def test_harakiri_without_a_master(seen):
    running = seen('--harakiri', '1')
    with running.connect() as held:
        held.sendall(b'GET /sleep HTTP/1.0\r\n\r\n')
        assert held.recv(1) == b''
    assert 'tornado: HARAKIRI: GET /sleep (core ' in running.log and 'in in_sleep' in running.log
    running.process.wait(30)
