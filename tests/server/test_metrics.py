"""The metrics worker.N.tornado.*, through the stats server and from Python."""
import contextlib
import json

import pytest

import clients
from conftest import free_port
from health import closed_by_server
from overlap import wait_until

CORES = 20
INTERFACES = pytest.mark.parametrize('app', ['metrics.py', 'operated_asgi.py'], ids=['wsgi', 'asgi'])


@pytest.fixture
def start(server):
    """Starts a server; returns it and a function that asks its stats server for the metrics of worker 1."""
    def start(*options, cores=CORES, app='metrics.py'):
        port = free_port()
        running = server(app, '--master', '--enable-metrics', '--stats', f'127.0.0.1:{port}', *options, cores=cores)
        running.wait_for_log('Stats server enabled')  # The master's, after its workers.

        def ask(worker=1):
            shown = json.loads(clients.exchange(port, b''))['metrics']
            prefix = f'worker.{worker}.tornado.'
            return {name[len(prefix):]: metric['value'] for name, metric in shown.items() if name.startswith(prefix)}
        return running, ask
    return start


@contextlib.contextmanager
def held(running, count):
    """So many requests that wait until the block ends: for the rest of their body."""
    with contextlib.ExitStack() as stack:
        clients_of = [stack.enter_context(running.connect()) for _ in range(count)]
        for client in clients_of:
            client.sendall(b'POST /read HTTP/1.0\r\nContent-Length: 1\r\n\r\n')
        try:
            yield
        finally:
            for client in clients_of:
                client.sendall(b'x')
        assert all(closed_by_server(client).endswith(b'read') for client in clients_of)


@pytest.mark.smoke
@INTERFACES
def test_stats_server_shows_cores_and_what_they_do(start, app):
    running, ask = start(app=app)
    with held(running, 7):
        wait_until(lambda: ask()['parked'] == 7)
        shown = ask()
        assert (shown['cores_used'], shown['cores_free'], shown['running']) == (7, CORES - 7, 0)
        assert shown['cores_peak'] >= 7 and shown['switches'] >= 7
    wait_until(lambda: ask()['parked'] == 0)
    shown = ask()
    assert (shown['cores_used'], shown['cores_free']) == (0, CORES) and shown['cores_peak'] == 7
    assert shown['queue_full_ms'] == shown['refused'] == 0


def test_applications_read_the_same_metrics(start):
    running, ask = start()
    with held(running, 5):
        wait_until(lambda: ask()['parked'] == 5)
        told = json.loads(running.get('/metrics')[2])
    assert told['parked'] == 5 and told.keys() == ask().keys()


def test_requests_that_compute_run(start):
    running, ask = start()
    with running.connect() as one, running.connect() as two:
        for client in (one, two):
            client.sendall(b'GET /compute?4 HTTP/1.0\r\n\r\n')
        wait_until(lambda: ask()['running'] == 2 and ask()['busy_percent'] > 90)
        assert ask()['parked'] == 0
        for client in (one, two):
            assert closed_by_server(client).endswith(b'computed')
    wait_until(lambda: ask()['preempted'] > 10)
    wait_until(lambda: ask()['busy_percent'] < 50)


@INTERFACES
def test_lag_is_how_long_the_loop_was_held(start, app):
    running, ask = start(app=app)
    running.get('/quick')
    running.get('/block?1.5')
    wait_until(lambda: ask()['loop_lag_us'] >= 1_500_000)
    wait_until(lambda: ask()['loop_lag_us'] < 1_000_000)  # Of the last seconds only.


def test_time_without_a_free_core(start):
    running, ask = start(cores=3)
    with contextlib.ExitStack() as stack:
        clients_of = [stack.enter_context(running.connect()) for _ in range(3)]
        for client in clients_of[:2]:
            client.sendall(b'GET /hold HTTP/1.0\r\n\r\n')
        wait_until(lambda: ask()['parked'] == 2)
        assert ask()['queue_full_ms'] == 0
        clients_of[2].sendall(b'GET /compute?1.5 HTTP/1.0\r\n\r\n')
        wait_until(lambda: ask()['queue_full_ms'] >= 100)  # Seen while it lasts.
        assert closed_by_server(clients_of[2]).endswith(b'computed')
        wait_until(lambda: ask()['cores_free'] == 1)
        assert ask()['queue_full_ms'] >= 1000
        running.get('/release')
        assert all(closed_by_server(client).endswith(b'released') for client in clients_of[:2])


@INTERFACES
def test_refusals_are_counted(start, app):
    running, ask = start('--tornado-overload-status', '503', '--tornado-overload-wait', '0', cores=2, app=app)
    with held(running, 2):
        wait_until(lambda: ask()['parked'] == 2)
        wait_until(lambda: [running.get('/quick')[0] for _ in range(3)] == [503] * 3)
        wait_until(lambda: ask()['refused'] >= 3)


def test_each_worker_has_its_own_and_a_new_one_begins_anew(start):
    running, ask = start('--processes', '2')
    wait_until(lambda: ask(1)['cores_free'] == ask(2)['cores_free'] == CORES)
    with held(running, 1):
        wait_until(lambda: ask(1)['parked'] + ask(2)['parked'] == 1)
    running.process.send_signal(1)
    running.wait_for_log('Stats server enabled', count=2)
    wait_until(lambda: ask(1)['cores_free'] == ask(2)['cores_free'] == CORES)


def test_nothing_is_registered_without_enable_metrics(server):
    port = free_port()
    running = server('basic.py', '--stats', f'127.0.0.1:{port}', '--master')
    running.wait_for_log('Stats server enabled')
    assert 'metrics' not in json.loads(clients.exchange(port, b''))
