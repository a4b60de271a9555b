"""Bytes that are wrong in every way, on sockets of every protocol and from many at once: the worker is the same after it.

The long one is tests/soak/test_hostile.py. TORNADO_SEED repeats what is sent.
"""
import sys
import time

import pytest

from conftest import ASAN, ROOT, free_port
from health import unharmed
from services import wait_until

sys.path.insert(0, str(ROOT / 'tests' / 'faults'))
from hostile_bytes import MESSAGES  # noqa: E402
from hostile_load import HostileLoad, others, sockets  # noqa: E402
from seeds import SEED, reproduced_by  # noqa: E402

SECONDS = 3
CORES = 16
CLIENTS = 24


@pytest.mark.parametrize('options', [[], ['--post-buffering', '4096']], ids=['', 'post-buffering'])
def test_hostile_bytes_harm_nobody(server, options):
    ports = {protocol: free_port() for protocol in MESSAGES}
    running = server('hostile.py', *sockets(ports, ASAN), '--socket-timeout', '2', '--disable-logging', '--listen', '100', *options, cores=CORES)
    with unharmed(running, CORES):
        load = HostileLoad(running, ports, CLIENTS).start()
        time.sleep(SECONDS)  # The load, not a wait for something.
        load.stop()
        assert not load.wrong, (reproduced_by(), load.wrong[:5], running.log[-3000:])
        assert load.steady > 10 and all(load.tried[protocol] > 10 for protocol in MESSAGES), load.tried
        wait_until(lambda: others(running) == [], 'no request is left')


def test_hostile_arguments_of_requests_harm_nobody(server):
    """What waits, called in requests side by side with arguments of every wrong kind."""
    running = server('hostile_calls.py', cores=CORES)
    paths = [f'/calls?{SEED}{number}' for number in range(10)]
    running.get_all(paths)  # What is kept from the first call on, libcurl's descriptors say, is there before.
    with unharmed(running, CORES):
        answers, _ = running.get_all(paths)
        assert [answer[2].split()[0] for answer in answers] == [b'200'] * 10, (reproduced_by(), answers, running.log[-3000:])
        assert running.get('/collect')[0] == 200
