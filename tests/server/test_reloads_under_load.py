"""Reload after reload while clients ask: each of them is answered. tests/soak has the long form."""
import contextlib
import signal
import subprocess

import pytest

from conftest import command, free_port, plugins
from steady_load import SteadyLoad

CLIENTS = 50
OPTIONS = ['--master', '--disable-logging', '--listen', '200', '--forkbomb-delay', '0']


def reload_master(running):
    """uWSGI and all its workers start anew; the listening sockets live on."""
    count = running.log.count('(master-start)')
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_log(r'\(master-start\)', count=count + 1)  # Before that it would not hear the next.


def reload_chain(running, fifo):
    """One worker after the other, while the others serve."""
    count = running.log.count('chain reloading complete')
    with open(fifo, 'w') as commands:
        commands.write('c')
    running.wait_for_log('chain reloading complete', count=count + 1)


def reload_under_load(running, reload, port=None, keep=False, clients=CLIENTS, wait_s=0.2, reloads=3):
    with SteadyLoad(port or running.port, f'/?{wait_s}', clients, keep) as load:
        load.wait_for_answers(clients)
        for _ in range(reloads):
            reload(running)
            load.wait_for_answers(clients)
    assert len(load.pids) > reloads
    assert 'worker-reload-mercy is over' not in running.log
    return load


@contextlib.contextmanager
def router_of_its_own(folder, behind):
    """uWSGI's HTTP router as another instance, which a reload of the workers' master leaves alone: its port."""
    port = free_port()
    with open(folder / 'router.log', 'wb') as log:
        router = subprocess.Popen([command()[0], *plugins('http'), '--master', '--http', f'127.0.0.1:{port}', '--http-to', behind],
                                  stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        while 'spawned uWSGI http 1' not in (folder / 'router.log').read_text():
            assert router.poll() is None, (folder / 'router.log').read_text()
        yield port
    finally:
        router.send_signal(signal.SIGINT)
        router.wait(60)


@pytest.mark.smoke
@pytest.mark.parametrize('options', [[], ['--lazy-apps', '--processes', '4']], ids=' '.join)
def test_reloads_of_the_master_lose_no_request(server, options):
    reload_under_load(server('steady.py', *OPTIONS, *options, cores=CLIENTS), reload_master)


def test_reloads_of_the_master_lose_no_request_of_kept_connections(server):
    running = server('steady.py', *OPTIONS, '--processes', '2', cores=CLIENTS, protocol='http11-socket')
    load = reload_under_load(running, reload_master, keep=True)
    assert load.closes >= CLIENTS  # Each was told; else each would have been lucky.


def test_reloads_of_the_master_lose_no_request_behind_a_router_of_its_own(server, tmp_path):
    running = server('steady.py', *OPTIONS, '--processes', '2', cores=CLIENTS, protocol='socket')
    with router_of_its_own(tmp_path, f'127.0.0.1:{running.port}') as port:
        reload_under_load(running, reload_master, port, reloads=2)


@pytest.mark.parametrize('front, processes', [('direct', '2'), ('http', '1'), ('http', '2')])
def test_chain_reloads_lose_no_request(server, tmp_path, front, processes):
    fifo, port = tmp_path / 'fifo', free_port()
    router = [*plugins('http'), '--http', f'127.0.0.1:{port}'] if front == 'http' else []
    running = server('steady.py', *OPTIONS, '--lazy-apps', '--processes', processes, '--master-fifo', str(fifo), *router,
                     protocol='socket' if front == 'http' else 'http-socket', cores=CLIENTS)
    reload_under_load(running, lambda _: reload_chain(running, fifo), port if front == 'http' else None, reloads=1)
