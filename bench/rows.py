"""What is measured: a function for each row, which returns a Row."""
import concurrent.futures
import itertools
import re
import shutil
import statistics
import time

import applications
import asgi
import fetches
import loop
import servers
import waits
from measure import HERE, REQUEST_UNITS, Missing, Row, Target, get, in_turn, interleave, interleave_afresh, load

# --- Requests --------------------------------------------------------------------------------

def hello(quick):
    row = Row('hello, a new connection each', '5-byte answer, 64 connections at once, `http-socket`', REQUEST_UNITS, [
        Target('CPU, x uWSGI sync (at most 1.10)', lambda r: r.median(HERE, 'us') / r.median('uWSGI sync', 'us'), 1.10),
        Target("CPU, x uWSGI's own Tornado engine (at most 0.46)",
               lambda r: r.median(HERE, 'us') / r.median('uWSGI --tornado', 'us'), 0.46),
        Target('CPU, x the same with --tornado-quantum 0 (at most 1.01)',
               lambda r: r.median(HERE, 'us') / r.median(NO_QUANTUM, 'us'), 1.01)])
    makers = [lambda: servers.here(100), lambda: no_quantum(100), servers.sync, lambda: servers.greenlet(100), lambda: servers.gevent(100),
              lambda: servers.tornado(100), servers.uvicorn, servers.gunicorn]
    requests = 4000 if quick else 20000
    return interleave(row, makers, 3 if quick else 7, lambda server: load(server, '/hello', 64, requests=requests),
                      lambda server: load(server, '/hello', 64, requests=1000))


def kept(quick):
    row = Row('hello, kept alive', '5-byte answer, 64 connections at once, `http11-socket`', REQUEST_UNITS, [
        Target('CPU µs a request (at most 9)', lambda r: r.median(HERE, 'us'), 9),
        Target('requests/s, x uvicorn (at least 1)',
               lambda r: r.median(HERE, 'rate') / r.median('uvicorn', 'rate'), 1, at_least=True)])
    makers = [lambda: servers.here(100, protocol='http11-socket'), servers.uvicorn, servers.gunicorn]
    requests = 20000 if quick else 60000
    return interleave(row, makers, 3 if quick else 5,
                      lambda server: load(server, '/hello', 64, requests=requests, keep_alive=True),
                      lambda server: load(server, '/hello', 64, requests=1000, keep_alive=True))


def stream(quick):
    row = Row('a stream of 100 chunks', '100 bytes each from a generator, 16 connections at once', REQUEST_UNITS, [
        Target('CPU, x uWSGI sync (at most 1.15)', lambda r: r.median(HERE, 'us') / r.median('uWSGI sync', 'us'), 1.15),
        Target('CPU with --tornado-coalesce, x uvicorn (at most 1)',
               lambda r: r.median(COALESCING, 'us') / r.median('uvicorn', 'us'), 1)])
    makers = [lambda: servers.here(100), lambda: coalescing(100), servers.sync, lambda: servers.greenlet(100), lambda: servers.gevent(100),
              lambda: servers.tornado(100), servers.uvicorn]
    requests = 500 if quick else 2000
    return interleave(row, makers, 3 if quick else 5, lambda server: load(server, '/stream', 16, requests=requests),
                      lambda server: load(server, '/stream', 16, requests=100))


def instructions(quick):
    row = Row('user instructions of a hello', 'cachegrind, a new connection each; two runs of different length, subtracted',
              {'instructions': 'instructions a request'},
              [Target('instructions a request (at most 55,000)', lambda r: r.median(HERE, 'instructions'), 55000)])
    if not shutil.which('valgrind'):
        row.notes.append('valgrind is not installed')
        return row
    few, many = 200, 700 if quick else 2200
    makers = {HERE: lambda prefix: servers.here(20, prefix=prefix), 'uWSGI sync': lambda prefix: servers.sync(prefix=prefix),
              'uWSGI --gevent': lambda prefix: servers.gevent(20, prefix=prefix),
              'uWSGI --tornado': lambda prefix: servers.tornado(20, prefix=prefix)}

    def measure(name):
        low, high = (count_instructions(makers[name], requests) for requests in (few, many))
        return {'instructions': (high - low) / (many - few)}
    return in_turn(row, makers, 1, lambda name: name, measure)


def count_instructions(make, requests):
    report = servers.BUILD / 'cachegrind.log'
    server = make(['valgrind', '--tool=cachegrind', '--cache-sim=no', '--cachegrind-out-file=/dev/null', f'--log-file={report}'])
    try:
        if load(server, '/hello', 8, requests=requests, timeout=120)['failed']:
            raise Missing(f'{server.name} lost requests under valgrind')
    finally:
        server.stop()
    counted = re.search(r'I +refs: +([\d,]+)', report.read_text())
    if not counted:
        raise Missing(f'{server.name} told valgrind nothing')
    return int(counted[1].replace(',', ''))


# --- Requests that compute --------------------------------------------------------------------

def rounds_in(seconds):
    """So many rounds of the application's work take about that long on this machine."""
    rounds = 500_000
    started = time.perf_counter()
    value = 0
    for number in range(rounds):
        value = (value * 31 + number) % 1000003
    return int(rounds * seconds / (time.perf_counter() - started))


def beside(count, quick):
    """Quick requests, one after another, while `count` others compute 2 s of CPU time each."""
    row = Row(f'quick requests while {count} compute', f'{count} requests of pure Python that compute about 2 s each; meanwhile hellos, '
              'one after another, each on a new connection; a contender that lets none through shows one that waited for all',
              {'p50': 'ms, p50', 'p99': 'ms, p99', 'max': 'ms, most', 'count': 'hellos meanwhile'})
    if count == 2:
        row.targets = [Target('p50, ms (at most 15)', lambda r: r.median(HERE, 'p50'), 15),
                       Target('p99, ms (at most 40)', lambda r: r.median(HERE, 'p99'), 40)]
    work = f'/compute?{rounds_in(2 if count == 2 else 0.6)}'

    def measure(server):
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            under_way = [pool.submit(get, server, work, 120) for _ in range(count)]
            time.sleep(0.1)
            latencies = []
            while not latencies or not any(one.done() for one in under_way):
                started = time.perf_counter()
                get(server, '/hello', 120)
                latencies.append((time.perf_counter() - started) * 1e3)
        latencies.sort()
        return {'p50': statistics.median(latencies), 'p99': latencies[int(len(latencies) * 0.99)], 'max': latencies[-1],
                'count': len(latencies)}
    return interleave(row, [lambda: servers.here(50), lambda: servers.threads(20), lambda: servers.gevent(50), servers.uvicorn],
                      2 if quick else 3, measure)


def two_compute(quick):
    return beside(2, quick)


def ten_compute(quick):
    return beside(10, quick)


def compute_cost(quick):
    """What preemption costs the request that is preempted."""
    row = Row('what giving way costs who computes', 'CPU time of the server for about 2 s of pure Python in one request',
              {'ms': 'CPU ms'}, [Target('x the same with --tornado-quantum 0 (at most 1.02)',
                                        lambda r: r.median(HERE, 'ms') / r.median(NO_QUANTUM, 'ms'), 1.02)])
    work = f'/compute?{rounds_in(2)}'

    def measure(server):
        before = server.cpu_s()
        get(server, work)
        return {'ms': (server.cpu_s() - before) * 1e3}
    return interleave(row, [lambda: servers.here(10), no_quantum], 3 if quick else 7, measure, lambda server: get(server, work))


def busy_thread(quick):
    """What a thread of the OS that computes in Python costs the others, who wait for the GIL at each release of it."""
    row = Row('beside a busy thread', 'a thread of the process computes in Python, or none does. Two threads of the server (virtual ones here) that take '
              'turns by `threading.Lock`; then hellos, 64 connections at once, a new connection each. CPU without that of the busy thread',
              {'switches': 'switches/s', 'us': 'CPU µs a hello', 'rate': 'hellos/s', 'failed': 'failed'}, [
                  Target('CPU of a hello, x without a busy thread (at most 1.3)', lambda r: r.median(beside_busy(HERE), 'us') / r.median(HERE, 'us'), 1.3)])
    makers = {}
    for name, make in ((HERE, lambda: servers.here(100)), ('uWSGI --threads', lambda: servers.threads(8))):
        makers[name] = make
        makers[beside_busy(name)] = lambda make=make: with_busy_thread(make())

    def measure(server):
        load(server, '/hello', 64, requests=1000)
        few = 200 if hasattr(server, 'busy') else 2000
        started = time.perf_counter()
        ns = float(get(server, f'/switches?{few}'))
        # A measurement of about half a second, whatever a switch takes.
        ns = float(get(server, f'/switches?{int(few * 0.5 / (time.perf_counter() - started)) + 1}'))
        before = busy_s(server)
        figures = load(server, '/hello', 64, seconds=1 if quick else 3)
        return {**figures, 'us': figures['us'] - (busy_s(server) - before) / figures['ok'] * 1e6, 'switches': 1e9 / ns}
    return interleave_afresh(row, makers, 3 if quick else 7, measure)


def beside_busy(name):
    return f'{name}, busy thread'


def with_busy_thread(server):
    server.busy = int(get(server, '/busy'))
    return server


def busy_s(server):
    """CPU time of the server's busy thread; 0 if there is none."""
    return servers.thread_cpu_s(server.process.pid, server.busy) if hasattr(server, 'busy') else 0


NO_QUANTUM = '--tornado-quantum 0'


def no_quantum(cores=10):
    server = servers.here(cores, '--tornado-quantum', '0')
    server.name = NO_QUANTUM
    return server


COALESCING = '--tornado-coalesce'


def coalescing(cores):
    server = servers.here(cores, COALESCING)
    server.name = COALESCING
    return server


# --- Calls that need not wait -----------------------------------------------------------------

def call_row(quick, path, title, how, targets):
    row = Row(title, how, {'ns': 'ns'}, targets)

    def native(**more):
        server = servers.here(10, '--tornado-native-blocking', **more)
        server.name = NATIVE
        return server
    return interleave(row, [lambda: servers.here(10), native], 3 if quick else 9, lambda server: {'ns': float(get(server, path))})


NATIVE = '--tornado-native-blocking'


def socketpair(quick):
    return call_row(quick, '/socketpair', 'send and recv of 1 KiB over a socketpair', 'both done at once; in one request, best of 5', [
        Target('time, x native (at most 1.05)', lambda r: r.median(HERE, 'ns') / r.median(NATIVE, 'ns'), 1.05)])


def lock(quick):
    return call_row(quick, '/lock', 'threading.Lock, acquire and release', 'nobody else wants it; in one request, best of 5', [
        Target('ns more than native (at most 10)', lambda r: r.median(HERE, 'ns') - r.median(NATIVE, 'ns'), 10)])


# --- The event loop --------------------------------------------------------------------------

def of_loops(title, names, rounds):
    """Some rows of loop.py in one."""
    def row_of(quick):
        known = {name: loop.ALL_ROWS[name] for name in names}
        row = Row(title, "without uWSGI: asyncio's own loop, uvloop and ours, each measurement a process of its own (`bench/loop.py`)", {},
                  [Target(f'{name}, x uvloop (at least {least})', lambda r, name=name: r.median('ours', name) / r.median('uvloop', name), least,
                          at_least=True) for name, (_, _, least) in known.items() if least], down=True)
        for name in known:
            row.units[name] = f'{name}: thousands/s'
            if name not in NO_CPU:
                row.units[f'{name}, CPU'] = f'{name}: CPU µs each'

        def measure(one):
            name, made_by = one
            try:
                figure, cpu_us = loop.measure(name, made_by, quick)
            except RuntimeError as error:
                raise Missing(str(error)) from None
            return {name: figure / 1000, f'{name}, CPU': cpu_us}
        return in_turn(row, itertools.product(known, loop.LOOPS), 2 if quick else rounds, lambda one: one[1], measure)
    return row_of


NO_CPU = {name for name in loop.ROWS if not name.startswith('echo')}
event_loop = of_loops('the event loop', loop.ROWS, 4)
event_loop_more = of_loops('the event loop: 1,000 connections, and libraries', loop.LONG_ROWS, 3)


# --- All of them -----------------------------------------------------------------------------

def named():
    """Rows by name, in the order in which they are measured."""
    of_fetches = (fetches.fetch_at_once, fetches.fetch_50_ms, fetches.fan_out, fetches.fetch_memory, fetches.async_fetch, fetches.await_done)
    return {
        **{row.__name__: row for row in (hello, kept, waits.timer)},
        **{f'latency_{waiting}': waits.latency(waiting) for waiting in (1, 10, 100, 1000, 10000)},
        **{row.__name__: row for row in (stream, instructions, waits.fetch, waits.fetch_100, waits.query, waits.query_mysql, *of_fetches)},
        **{f'suspended_{waiting}': waits.suspended(waiting) for waiting in (100, 1000, 10000)},
        **{row.__name__: row for row in (two_compute, ten_compute, compute_cost, busy_thread, socketpair, lock)},
        'event_loop': event_loop,
        **{row.__name__: row for row in asgi.ROWS},
    }


ROWS = named()
APPLICATIONS = {**applications.ROWS, 'event_loop_more': event_loop_more}  # These take too long for a run of all.
ALL = {**ROWS, **APPLICATIONS}
