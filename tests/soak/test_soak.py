"""Every client library at once for minutes, while some of those who ask leave in the middle.

Not a part of `make test`: run by `make soak`, which loads the fixtures of tests/server.
SOAK_MINUTES (10), SOAK_SEED (random), SOAK_CLIENTS (100), SOAK_PAUSE_S between two requests of a client (0.5).
"""
import collections
import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import re
import socket
import sqlite3
import statistics
import time

import pytest

import services
import upstreams
from clients import Client, Tally, choices
from requests_asked import COUNTERS

HERE = pathlib.Path(__file__).parent
MINUTES = float(os.environ.get('SOAK_MINUTES', 10))
SEED = os.environ.get('SOAK_SEED') or str(random.randrange(10**6))
CLIENTS = int(os.environ.get('SOAK_CLIENTS', 100))
PAUSE_S = float(os.environ.get('SOAK_PAUSE_S', 0.5))
CORES = 200
SAMPLE_S = 10
WARM_UP_S = 30
GROWTH_MAX = 0.03  # Of resident memory, from the third quarter to the last.
END_S = 60  # Within which all that was begun is over.

services.MAX_CONNECTIONS = 1000  # A connection of each driver for each core.
upstreams.NameServer.address = f'127.0.0.{154 + os.getpid() % 90}', 53  # So that other tests may run meanwhile.


@pytest.fixture
def counters(postgres, mariadb, redis_server, tmp_path):
    """Counters that requests add to, each behind a lock of its own: {name: function that reads it}."""
    postgres.query('create table counter as select 0 as value')
    postgres.query('create table note (id serial primary key, request integer, words text)')
    for statement in ('create database if not exists test', 'create table test.counter engine=innodb as select 0 as value'):
        mariadb.query(statement)
    flock = tmp_path / 'counter'
    flock.write_text('0')
    database = tmp_path / 'counter.sqlite'
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute('create table counter as select 0 as value')
        connection.commit()

    def read_sqlite():
        with contextlib.closing(sqlite3.connect(database)) as connection:
            return connection.execute('select value from counter').fetchone()[0]

    return {'postgres': lambda: postgres.query('select value from counter')[0][0],
            'mariadb': lambda: mariadb.query('select value from test.counter')[0][0],
            'redis': lambda: int(redis_server.client().get('locked') or 0),
            'flock': lambda: int(flock.read_text()),
            'sqlite': read_sqlite}


@pytest.fixture
def environ(postgres, mariadb, redis_server, memcached, upstream, tls_upstream, certificate, mail_server, counters,
            tmp_path):
    return {
        'CORES': str(CORES), 'DSN': postgres.dsn,
        'DATABASE_URL': f'postgresql+psycopg2://app@127.0.0.1:{postgres.port}/postgres',
        'MARIADB_PORT': str(mariadb.port), 'REDIS_PORT': str(redis_server.port),
        'MEMCACHED_PORT': str(memcached.port), 'SMTP_PORT': str(mail_server.port),
        'URL': f'http://127.0.0.1:{upstream.port}', 'TLS_URL': f'https://127.0.0.1:{tls_upstream.port}',
        'TLS_CA': certificate[0], 'DATABASE': str(tmp_path / 'counter.sqlite'), 'LOCK_FILE': str(tmp_path / 'counter'),
    }


Sample = collections.namedtuple('Sample', 'rss_mib descriptors threads busy')


class Worker:
    """The one worker of a running server, seen from outside."""

    def __init__(self, server, stats_port):
        self.server, self.stats_port = server, stats_port
        self.pid, = server.worker_pids()
        self.proc = pathlib.Path(f'/proc/{self.pid}')

    def sample(self):
        return Sample(self.rss_mib(), self.descriptors(), self.threads(), self.busy_cores())

    def rss_mib(self):
        return int((self.proc / 'statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20

    def descriptors(self):
        return len(os.listdir(self.proc / 'fd'))

    def open_files(self):
        """What is open, and how many of each kind."""
        kinds = collections.Counter()
        for entry in (self.proc / 'fd').iterdir():
            with contextlib.suppress(FileNotFoundError):
                kinds[os.readlink(entry).split('[')[0].split(':')[0]] += 1
        return dict(kinds)

    def threads(self):
        return len(os.listdir(self.proc / 'task'))

    def busy_cores(self):
        with socket.create_connection(('127.0.0.1', self.stats_port), 30) as line:
            text = b''.join(iter(lambda: line.recv(65536), b''))
        return sum(core['in_request'] for core in json.loads(text)['workers'][0]['cores'])

    def settle(self, threads):
        """Once nothing runs: gives up what cores and pools keep, waits until there are `threads`
        again, as at the start, and returns (Python objects, sample)."""
        services.wait_until(lambda: self.busy_cores() == 0, 'requests whose clients left to end', timeout_s=END_S)
        with concurrent.futures.ThreadPoolExecutor(CORES) as all_at_once:
            for status, _, body in all_at_once.map(lambda _: self.server.get('/settle', timeout_s=90), range(CORES)):
                assert (status, body) == (200, b'settled')
        objects = int(self.server.get('/count_objects')[2])
        services.wait_until(lambda: self.threads() <= threads, 'helper threads to end', timeout_s=END_S)
        return objects, self.sample()

    def report(self):
        return json.loads(self.server.get('/report')[2])


def drive(worker, clients, tally, seconds, said):
    """Lets the clients ask that long; a sample each SAMPLE_S."""
    for client in clients:
        client.thread.start()
    samples = []
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(min(SAMPLE_S, seconds - passed))
        assert worker.proc.exists(), worker.server.log[-5000:]
        samples.append(worker.sample())
        print(f'{said} {time.monotonic() - began:4.0f} s: {tally.answered.total()} answered, {tally.left.total()} left, '
              f'{len(tally.wrong)} wrong, {samples[-1].rss_mib:.1f} MiB, {samples[-1].descriptors} descriptors, '
              f'{samples[-1].threads} threads, {samples[-1].busy} cores busy', flush=True)
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.thread.join(END_S + 60)
        assert not client.thread.is_alive(), 'a client still waits for its answer'
    return samples


def growth(samples):
    """Of resident memory, from the third quarter to the last, as a share."""
    quarter = max(len(samples) // 4, 1)
    before, after = (statistics.median(s.rss_mib for s in part)
                     for part in (samples[-2 * quarter:-quarter] or samples, samples[-quarter:]))
    return after / before - 1


def unexpected_errors(log):
    """Exceptions that requests ended with, but for what an app sees of a client that left."""
    ends = re.findall(r'^[A-Za-z_.]*(?:Error|Exception|Timeout)\b.*', log, re.MULTILINE)
    gone = ('OSError: write error', 'OSError: error during read')
    return dict(collections.Counter(end for end in ends if not end.startswith(gone)))


def test_soak(server, environ, counters, slow_names):
    stats_port, keeping_port = services.free_port(), services.free_port()
    running = server(str(HERE / 'app.py'), '--master', '--stats', f'127.0.0.1:{stats_port}', '--listen', '512',
                     '--http11-socket', f'127.0.0.1:{keeping_port}', '--socket-timeout', '60', '--disable-logging', '--lazy-apps',
                     '--worker-reload-mercy', '60', cores=CORES, environ=environ, launcher=slow_names)
    worker = Worker(running, stats_port)
    tally = Tally()
    what = choices(with_names=True)

    def make_clients(label):
        return [Client(f'{label} {i}', SEED, keeping_port if i % 2 else running.port, bool(i % 2), what, tally, PAUSE_S)
                for i in range(CLIENTS)]

    print(f'\nseed {SEED}, {CLIENTS} clients, {CORES} cores, {MINUTES:g} minutes', flush=True)
    threads = worker.threads()
    drive(worker, make_clients('warm-up'), tally, WARM_UP_S, 'warm-up')
    objects_before, before = worker.settle(threads)
    files_before = worker.open_files()
    ticks_before = worker.report()['ticks']
    print(f'settled: {before.rss_mib:.1f} MiB, {before.descriptors} descriptors, {before.threads} threads, '
          f'{objects_before} Python objects', flush=True)

    cpu_before, began = running.cpu_s(), time.monotonic()
    samples = drive(worker, make_clients('soak'), tally, MINUTES * 60, 'soak')
    cpu_share = (running.cpu_s() - cpu_before) / (time.monotonic() - began)
    report = worker.report()
    objects_after, after = worker.settle(threads)
    print(f'settled: {after.rss_mib:.1f} MiB, {after.descriptors} descriptors, {after.threads} threads, '
          f'{objects_after} Python objects', flush=True)
    print(f'answered {tally.answered.total()}, wrong {len(tally.wrong)}, left {dict(tally.left)}, slowest {tally.slowest}')
    print(f'memory grew by {growth(samples):.2%} in the second half; {cpu_share:.0%} of one CPU')
    print('blocked:', report['blocking']['blocked'])
    print('suspended:', report['blocking']['suspended'])
    print('ticks:', report['ticks'], flush=True)

    assert tally.wrong == []
    for name, kinds in COUNTERS.items():
        counted = counters[name]()
        assert sum(tally.answered[kind] for kind in kinds) <= counted <= sum(tally.started[kind] for kind in kinds), name
    assert all(report['ticks'][name] > ticks_before[name] + 10 * MINUTES * 60 for name in ticks_before), report['ticks']
    assert after.descriptors <= before.descriptors, (files_before, worker.open_files())
    assert unexpected_errors(running.log) == {}
    assert running.worker_pids() == [worker.pid]
    assert report['blocking']['blocked'] == {}
    assert objects_after <= objects_before * 1.01
    if not running.sanitized:  # Its allocator keeps what is freed, to find uses of it.
        assert growth(samples) < GROWTH_MAX
