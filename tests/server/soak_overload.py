"""Ten thousand clients at once for a hundred cores: run by make soak-overload, not with the tests.

SOAK_CONNECTIONS   how many (default 10000)
"""
import collections
import os
import time

import pytest

from crowd import ask_at_once, backlog, raise_descriptor_limit, status_of
from health import unharmed

CONNECTIONS = int(os.environ.get('SOAK_CONNECTIONS', '10000'))
CORES = 100
REFUSE = ['--tornado-overload-status', '503', '--tornado-overload-wait', '0.5']


@pytest.mark.parametrize('options', [[], REFUSE, ['--master', '--processes', '2'],
                                     ['--master', '--processes', '2', *REFUSE]], ids=' '.join)
@pytest.mark.parametrize('seconds', ['0.01', '0.5'])
def test_ten_thousand_connections_at_once(server, options, seconds):
    connections = min(CONNECTIONS, raise_descriptor_limit(CONNECTIONS + 2000) - 1000)
    running = server('bad.py', '--listen', backlog(), '--disable-logging', *options, cores=CORES)
    workers = len(running.worker_pids())
    if '--master' not in options:
        with unharmed(running, CORES):
            flood(running, connections, seconds, options, workers)
    else:
        flood(running, connections, seconds, options, workers)
        assert running.get()[0] == 200


def flood(running, connections, seconds, options, workers):
    cpu_before, began = running.cpu_s(), time.monotonic()
    answers = ask_at_once(running.port, connections, b'GET /sleep?%s HTTP/1.0\r\n\r\n' % seconds.encode(), timeout_s=240)
    took_s, cpu_s = time.monotonic() - began, running.cpu_s() - cpu_before
    counts = collections.Counter(map(status_of, answers))
    print(f'\n{connections} connections, requests of {seconds} s, {workers} worker(s) of {CORES} cores '
          f'{"refusing" if REFUSE[0] in options else "queueing"}: {dict(counts)} in {took_s:.1f} s, {cpu_s:.1f} s of CPU', flush=True)
    assert set(counts) <= ({200, 503} if REFUSE[0] in options else {200}), counts
    assert cpu_s < 0.5 * took_s * workers or cpu_s < connections * 0.0005  # Of a worker that spun: 1.0.


def test_a_flood_again_and_again_leaves_nothing_behind(server):
    connections = min(CONNECTIONS // 5, raise_descriptor_limit(CONNECTIONS // 5 + 2000) - 1000)
    running = server('bad.py', '--listen', backlog(), '--disable-logging', *REFUSE, cores=CORES)
    with unharmed(running, CORES):
        total = collections.Counter()
        for _ in range(10):
            total.update(map(status_of, ask_at_once(running.port, connections, b'GET /sleep?0.05 HTTP/1.0\r\n\r\n')))
        print(f'\n10 floods of {connections}: {dict(total)}', flush=True)
        assert set(total) <= {200, 503}, total
