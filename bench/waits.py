"""Rows of requests that wait: how late, with how much memory, in which drivers."""
import contextlib
import json
import resource
import subprocess
import time

import servers
from measure import HERE, Closing, Missing, Row, Target, at_once, get, interleave, interleave_afresh, load, load_command, try_to

# --- Timers ----------------------------------------------------------------------------------

def timer(quick):
    waiting = 2000
    row = Row(f'100 ms timer, {waiting} waiting at once',
              "`time.sleep(0.1)`, a new connection each; gevent's is patched, uvicorn awaits, uWSGI's Tornado engine has a callback",
              {'share': 'of the ideal rate', 'late_ms': 'ms, p99 beyond 100', 'us': 'CPU µs a request', 'failed': 'failed'}, [
                  Target('share of the ideal rate (at least 0.95)', lambda r: r.median(HERE, 'share'), 0.95, at_least=True),
                  Target('p99 beyond 100 ms (at most 15)', lambda r: r.median(HERE, 'late_ms'), 15)])

    def measure(server):
        figures = load(server, '/timer', waiting, seconds=2 if quick else 4, ramp_ms=100)
        return {**figures, 'share': figures['rate'] / (waiting / 0.1), 'late_ms': figures['p99_ms'] - 100}
    return interleave(row, [servers.here, servers.gevent, servers.tornado, servers.uvicorn], 2 if quick else 5, measure,
                      lambda server: load(server, '/timer', waiting, requests=waiting, ramp_ms=100))


def latency(waiting):
    """How late requests that wait a second are, by how many wait."""
    def row_of(quick):
        row = Row(f'{waiting:,} waiting 1 s at once', 'each waits twice, a new connection each time, begun within 0.9 s of each other; as the row '
                  f'`timer` otherwise. Milliseconds beyond the second, from connect() to the end. Backlog {servers.backlog():,}, and who '
                  'takes connections more slowly than they come has clients that try again a second later',
                  {'late_p50_ms': 'ms late, p50', 'late_p90_ms': 'ms, p90', 'late_p99_ms': 'ms, p99', 'late_max_ms': 'ms, most',
                   'failed': 'failed'}, size=waiting)

        def measure(server):
            figures = load(server, '/second', waiting, requests=2 * waiting, ramp_ms=900)
            late = {f'late_{which}_ms': figures[f'{which}_ms'] - 1000 for which in ('p50', 'p90', 'p99', 'max')}
            return {**late, 'failed': figures['failed']}
        cores = max(100, waiting + 20)
        makers = [lambda: servers.here(cores), lambda: servers.gevent(cores), lambda: servers.tornado(cores), servers.uvicorn]
        return interleave(row, makers, 1 if quick else 3, measure, lambda server: load(server, '/hello', 10, requests=200))
    return row_of


# --- Drivers that block ----------------------------------------------------------------------

DRIVER_UNITS = {'seconds': 's for all', 'us': 'CPU µs a request', 'failed': 'failed'}


def overlap(row, quick, environ, path, clients, gevent_rounds=None):
    """All at once, in drivers that wait 0.2 s each. `gevent_rounds`: once will do where it takes 20 seconds."""
    rounds = 3 if quick else 7
    gevent = [lambda: servers.gevent(clients + 10, environ=environ)]
    makers = [lambda: servers.here(clients + 10, environ=environ), lambda: servers.threads(clients, environ=environ)]
    at_once(row, makers if gevent_rounds else makers + gevent, rounds, path, clients)
    if gevent_rounds:
        interleave(row, gevent, gevent_rounds, lambda server: load(server, path, clients, requests=clients, timeout=60))
    return row


def fetch(quick, clients=200, targets=True):
    row = Row(f'requests.get to a 200 ms upstream, {clients} at once', 'nothing patched but for gevent; one worker', DRIVER_UNITS)
    if targets:
        row.targets = [Target('s for all (at most 0.5)', lambda r: r.median(HERE, 'seconds'), 0.5),
                       Target('CPU, x gevent (at most 1)', lambda r: r.median(HERE, 'us') / r.median('uWSGI --gevent', 'us'), 1)]
    with contextlib.closing(Closing(servers.Upstream())) as upstream:
        return overlap(row, quick, upstream.server.environ, '/fetch', clients)


def fetch_100(quick):
    return fetch(quick, 100, targets=False)


def query_row(quick, database, what, path, targets=()):
    row = Row(f'{what}, 100 at once', 'nothing patched but for gevent; one worker, a connection for each core',
              {'seconds': 's for all', 'failed': 'failed'}, list(targets))
    server = try_to(row, database)
    if server is None:
        return row
    with contextlib.closing(Closing(server)):
        return overlap(row, quick, server.environ, path, 100, gevent_rounds=1)


def query(quick):
    return query_row(quick, servers.Postgres, 'psycopg2, select pg_sleep(0.2)', '/query', [
        Target('s for all (at most 0.35)', lambda r: r.median(HERE, 'seconds'), 0.35)])


def query_mysql(quick):
    return query_row(quick, servers.MariaDB, 'mysqlclient, select sleep(0.2)', '/query_mysql')


# --- Memory ----------------------------------------------------------------------------------

def suspended(waiting):
    def row_of(quick):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        many = min(2000 if quick else waiting, waiting, hard - 200)
        row = Row(f'{many:,} requests suspended at once', "what each adds to the worker's memory; uWSGI's own are its shared buffers and the "
                  f'{HEADER_BUFFER_KIB} KiB that it keeps of what it read of each request; all are answered at the end',
                  {'private_kib': "KiB each beyond uWSGI's own", 'uwsgi_kib': "KiB each, uWSGI's own", 'tables_kib': 'KiB each, page tables',
                   'total_kib': 'KiB each in all', 'failed': 'failed'}, size=many)
        if waiting == 10000:
            row.targets = [Target("resident KiB each beyond uWSGI's own (at most 14)", lambda r: r.median(HERE, 'private_kib'), 14),
                           Target('requests lost (none)', lambda r: r.median(HERE, 'failed'), 0)]
        makers = {HERE: lambda: servers.here(many + 20), 'uWSGI --gevent': lambda: servers.gevent(many + 20),
                  'uWSGI --tornado': lambda: servers.tornado(many + 20), 'uvicorn': servers.uvicorn}
        return interleave_afresh(row, makers, 1 if quick else 3, lambda server: hold(server, many))
    return row_of


HEADER_BUFFER_KIB = resource.getpagesize() // 1024  # What proto/http.c reads into; freed here once it is parsed.


def hold(server, many):
    """Memory before, with `many` requests suspended, and how many were lost when they went on."""
    load(server, '/hello', 10, requests=200)
    before = server.memory_kib()
    clients = subprocess.Popen(load_command(server, '/hold', many, requests=many, ramp_ms=many * 0.3, timeout=120),
                               stdout=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while (waiting := int(get(server, '/waiting'))) < many and time.monotonic() < deadline:
            time.sleep(0.1)
        if waiting < many:
            raise Missing(f'only {waiting} of {many} wait in {server.name}')
        private, shared, tables = ((then - first) / waiting for then, first in zip(server.memory_kib(), before))
        get(server, '/release')
        answers = json.loads(clients.communicate(timeout=120)[0])
    finally:
        clients.kill()
        clients.wait()
    buffer = 0 if server.name in ('uvicorn', HERE) else HEADER_BUFFER_KIB
    return {'private_kib': private - buffer, 'uwsgi_kib': shared + buffer, 'tables_kib': tables,
            'total_kib': private + shared + tables, 'failed': many - answers['ok']}
