"""Isolation under chaos for long: 200 requests in flight, all waits, real threads, interruptions, PostgreSQL.

Not a part of `make test`, which has test_chaos.py of tests/server: run by `make soak`.
SOAK_MINUTES (10), TORNADO_SEED (random), SOAK_CHAOS_CLIENTS (200).
"""
import collections
import contextlib
import json
import os
import pathlib
import statistics
import sys
import time

import pytest

import services
from conftest import ROOT

sys.path.insert(0, str(ROOT / 'tests' / 'faults'))
from chaos_load import Load  # noqa: E402
from seeds import SEED, reproduced_by  # noqa: E402

MINUTES = float(os.environ.get('SOAK_MINUTES', 10))
CLIENTS = int(os.environ.get('SOAK_CHAOS_CLIENTS', 200))
SAMPLE_S = 10
WARM_UP_S = 30 + 8 * MINUTES  # Until every core has been used, and most of them for most of the waits.
END_S = 90
GROWTH_MAX = 0.03  # Of resident memory, from the third quarter to the last.

Sample = collections.namedtuple('Sample', 'rss_mib descriptors os_threads')


class Worker:
    def __init__(self, running):
        self.running = running
        self.pid, = running.worker_pids()
        self.proc = pathlib.Path(f'/proc/{self.pid}')

    def sample(self):
        rss = int((self.proc / 'statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20
        return Sample(rss, len(os.listdir(self.proc / 'fd')), len(os.listdir(self.proc / 'task')))

    def open_files(self):
        """What is open, and how many of each kind."""
        kinds = collections.Counter()
        for entry in (self.proc / 'fd').iterdir():
            with contextlib.suppress(FileNotFoundError):
                kinds[os.readlink(entry).split('[')[0].split(':')[0]] += 1
        return dict(kinds)

    def report(self):
        return json.loads(self.running.get('/report')[2])

    def at_rest(self, descriptors=None):
        """(report, sample) once nothing runs any more; waits until no more descriptors are open than there were."""
        services.wait_until(lambda: self.report()['running'] == 1, 'requests whose clients left to end', timeout_s=END_S)
        if descriptors is not None:
            with contextlib.suppress(RuntimeError):  # The caller sees it.
                services.wait_until(lambda: self.sample().descriptors <= descriptors, 'descriptors', timeout_s=END_S)
        return self.report(), self.sample()


def without_objects(report):
    return {**report, 'objects': sum(report['objects'].values())}


def more_objects(before, after):
    """Of which kinds there are more, and how many."""
    more = collections.Counter(after['objects'])
    more.subtract(before['objects'])
    return {kind: count for kind, count in more.most_common() if count > 0}


def drive(worker, load, seconds, said):
    load.start()
    samples, began = [], time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(min(SAMPLE_S, seconds - passed))
        assert worker.proc.exists(), (reproduced_by(), worker.running.log[-5000:])
        samples.append(worker.sample())
        print(f'{said} {time.monotonic() - began:4.0f} s: {dict(load.outcomes)}, {len(load.wrong)} wrong, oldest {load.oldest_s():.0f} s, '
              f'{samples[-1].rss_mib:.1f} MiB, {samples[-1].descriptors} descriptors, {samples[-1].os_threads} threads', flush=True)
    load.stop()
    return samples


def growth(samples):
    """Of resident memory, from the third quarter to the last, as a share."""
    quarter = max(len(samples) // 4, 1)
    before, after = (statistics.median(s.rss_mib for s in part)
                     for part in (samples[-2 * quarter:-quarter] or samples, samples[-quarter:]))
    return after / before - 1


@pytest.fixture
def table(postgres):
    postgres.query('create table if not exists canary (request bigint, mark bigint)')
    postgres.query('truncate canary')
    postgres.query('create index if not exists canary_request on canary (request)')


def test_chaos(server, upstream, postgres, table, canaries):
    running = server('chaos.py', '--tornado-client-disconnect', '--disable-logging', '--listen', '512', '--socket-timeout', '120',
                     cores=CLIENTS + 10, environ={'UPSTREAM_PORT': str(upstream.port), 'DSN': postgres.dsn, 'CANARIES': canaries})
    worker = Worker(running)
    print(f'\n{reproduced_by()}, {CLIENTS} clients, {MINUTES:g} minutes', flush=True)
    drive(worker, Load([running.port], CLIENTS, seed=f'{SEED}w', worker_pid=worker.pid), WARM_UP_S, 'warm-up')
    before, sample_before = worker.at_rest()
    print(f'at rest: {without_objects(before)}, {sample_before}', flush=True)

    load = Load([running.port], CLIENTS, worker_pid=worker.pid)
    samples = drive(worker, load, MINUTES * 60, 'chaos')
    after, sample_after = worker.at_rest(sample_before.descriptors + 5)
    print(f'at rest: {without_objects(after)}, {sample_after}, {worker.open_files()}')
    print(f'more objects: {more_objects(before, after)}')
    print(f'{dict(load.outcomes)}, slowest {load.slowest_s:.1f} s')
    print(f'memory grew by {growth(samples):.2%} in the second half', flush=True)

    assert not load.wrong, (reproduced_by(), load.wrong[:5], running.log[-5000:])
    assert not after['wrong'], after['wrong'][:5]
    rows = dict(postgres.query('select request, count(*) from canary group by request'))
    lost = [number for number, (how, said) in load.rows.items() if how == 'committed' and rows.get(number, 0) != said]
    assert not lost, (reproduced_by(), lost[:10])
    assert all(after['live'][kind] <= before['live'][kind] + 5 for kind in after['live']), (before, after)
    assert sum(after['objects'].values()) <= sum(before['objects'].values()) * 1.01, more_objects(before, after)
    assert after['references'] <= before['references'] * 1.01  # Of a debug Python; 0 otherwise.
    # The interpreter's own lock round its thread states, which a thread that lost the CPU may hold for a while.
    after['blocked'].get('lock', {}).pop('the GIL was held', None)
    assert not any(after['blocked'].values()), after['blocked']
    assert sample_after.descriptors <= sample_before.descriptors + 5, worker.open_files()
    if not running.sanitized:  # Its allocator keeps what is freed, to find uses of it.
        assert growth(samples) < GROWTH_MAX
