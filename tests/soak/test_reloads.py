"""20 reloads under a steady load of 100 clients whose requests take a second: every one is answered.

Not a part of `make test`, which has test_reloads_under_load.py: run by `make soak`. SOAK_RELOADS (20).
"""
import os
import time

import pytest

from conftest import free_port, plugins
from test_reloads_under_load import OPTIONS, reload_chain, reload_master, reload_under_load, router_of_its_own

RELOADS = int(os.environ.get('SOAK_RELOADS', 20))
CLIENTS = 100


def soak(running, reload, **more):
    began = time.monotonic()
    load = reload_under_load(running, reload, clients=CLIENTS, wait_s=1, reloads=RELOADS, **more)
    print(f'\n{RELOADS} reloads in {time.monotonic() - began:.0f} s: {load.answered} answered by {len(load.pids)} workers, '
          f'{load.closes} told that the connection closes, {len(load.failures)} failed, slowest {load.slowest_s:.1f} s', flush=True)


@pytest.mark.parametrize('options', [[], ['--lazy-apps']], ids=['', 'lazy'])
@pytest.mark.parametrize('processes', ['1', '4'])
@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_master_is_reloaded(server, protocol, processes, options):
    running = server('steady.py', *OPTIONS, '--processes', processes, *options, cores=CLIENTS, protocol=protocol)
    soak(running, reload_master, keep=protocol == 'http11-socket')


@pytest.mark.parametrize('processes', ['1', '4'])
def test_master_behind_a_router_of_its_own_is_reloaded(server, tmp_path, processes):
    running = server('steady.py', *OPTIONS, '--processes', processes, cores=CLIENTS, protocol='socket')
    with router_of_its_own(tmp_path, f'127.0.0.1:{running.port}') as port:
        soak(running, reload_master, port=port)


@pytest.mark.parametrize('front, processes', [('direct', '4'), ('http', '1'), ('http', '4')])
def test_workers_are_reloaded_one_after_the_other(server, tmp_path, front, processes):
    fifo, port = tmp_path / 'fifo', free_port()
    router = [*plugins('http'), '--http', f'127.0.0.1:{port}'] if front == 'http' else []
    running = server('steady.py', *OPTIONS, '--lazy-apps', '--processes', processes, '--master-fifo', str(fifo), *router,
                     protocol='socket' if front == 'http' else 'http-socket', cores=CLIENTS)
    soak(running, lambda _: reload_chain(running, fifo), port=port if front == 'http' else None)
