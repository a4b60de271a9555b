"""Hostile clients for minutes: the worker is the same after it, and no bigger.

HOSTILE_MINUTES (10), TORNADO_SEED.
"""
import os
import sys
import time

import psutil

from conftest import ASAN, ROOT, free_port
from health import unharmed
from services import wait_until

sys.path.insert(0, str(ROOT / 'tests' / 'faults'))
from hostile_bytes import MESSAGES  # noqa: E402
from hostile_load import HostileLoad, others, sockets  # noqa: E402
from seeds import reproduced_by  # noqa: E402

MINUTES = float(os.environ.get('HOSTILE_MINUTES', 10))
CORES = 32
CLIENTS = 48
GROWTH_MAX = 0.03  # Of resident memory, in the second half.


def test_hostile_bytes_for_minutes(server):
    ports = {protocol: free_port() for protocol in MESSAGES}
    running = server('hostile.py', *sockets(ports, ASAN), '--socket-timeout', '2', '--disable-logging', '--listen', '100', cores=CORES)
    worker = psutil.Process(running.process.pid)
    with unharmed(running, CORES):
        load = HostileLoad(running, ports, CLIENTS).start()
        time.sleep(MINUTES * 30)  # The load, not a wait for something.
        half = worker.memory_info().rss
        time.sleep(MINUTES * 30)
        load.stop()
        assert not load.wrong, (reproduced_by(), load.wrong[:5], running.log[-3000:])
        wait_until(lambda: others(running) == [], 'no request is left')
    end = worker.memory_info().rss
    print(f'{reproduced_by()}: {sum(load.tried.values())} {dict(load.tried)}, {load.steady} steady requests right, '
          f'memory {half >> 10} KiB after half, {end >> 10} KiB at the end')
    assert ASAN or end < half * (1 + GROWTH_MAX)
