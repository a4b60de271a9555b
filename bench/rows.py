"""What is measured: one function a row, each returns a Row."""
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import re
import resource
import shutil
import signal
import statistics
import subprocess
import time

import servers
from servers import Missing

LOAD = servers.build('load')


@dataclasses.dataclass
class Row:
    title: str
    how: str
    units: dict                       # Metric: how it is printed.
    targets: list = dataclasses.field(default_factory=list)
    values: dict = dataclasses.field(default_factory=dict)   # Contender: metric: a value for each round.
    notes: list = dataclasses.field(default_factory=list)

    def add(self, contender, figures):
        for metric, value in figures.items():
            self.values.setdefault(contender, {}).setdefault(metric, []).append(value)

    def median(self, contender, metric):
        """None where it was not measured."""
        seen = self.values.get(contender, {}).get(metric)
        return statistics.median(seen) if seen else None


@dataclasses.dataclass
class Target:
    """`figure` of the row (None where a contender is missing) should be at most, or at least, `limit`."""
    text: str
    figure: object
    limit: float
    at_least: bool = False

    def verdict(self, row):
        try:
            figure = self.figure(row)
        except TypeError:  # Arithmetic with a contender that is missing.
            return f'{self.text}: not measured'
        if figure is None:
            return f'{self.text}: not measured'
        met = figure >= self.limit if self.at_least else figure <= self.limit
        lost = sum(row.values.get(HERE, {}).get('failed', []))
        return f'{self.text}: {figure:.3g}, {"met" if met else "MISSED"}' + (f', but {lost} requests failed' if lost else '')


HERE = 'uwsgi-tornado'


def say(text):
    print(text, flush=True)


# --- Load ------------------------------------------------------------------------------------

def load_command(server, path, connections, requests=0, seconds=0, keep_alive=False, ramp_ms=0, timeout=30):
    much = ['--requests', str(requests)] if requests else ['--seconds', str(seconds)]
    return [str(LOAD), str(server.port), path, '--connections', str(connections), *much, '--ramp-ms', str(ramp_ms),
            '--timeout', str(timeout), *(['--keep-alive'] if keep_alive else [])]


def load(server, path, connections, **how):
    """Figures of one run; `us` is the server's CPU time, user and system, for each request."""
    before = server.cpu_s()
    figures = json.loads(subprocess.check_output(load_command(server, path, connections, **how)))
    figures['us'] = (server.cpu_s() - before) / max(figures['ok'], 1) * 1e6
    return figures


def get(server, path, timeout=60):
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request('GET', path)
        return connection.getresponse().read()


def start_all(row, makers, running):
    """Those that start; why the others did not is noted."""
    started = []
    for make in makers:
        try:
            started.append(running.enter_context(contextlib.closing(Closing(make()))).server)
        except Missing as missing:
            row.notes.append(str(missing))
            say(f'  - {missing}')
    return started


class Closing:
    def __init__(self, server):
        self.server = server

    def close(self):
        self.server.stop()


def interleave(row, makers, rounds, measure, warm_up=None):
    """A B C A B C ...: what the machine does meanwhile falls on all alike."""
    with contextlib.ExitStack() as running:
        contenders = start_all(row, makers, running)
        for server in contenders:
            if warm_up:
                warm_up(server)
        for number in range(rounds):
            for server in contenders:
                figures = {metric: value for metric, value in measure(server).items() if metric in row.units}
                row.add(server.name, figures)
                say(f'  {number + 1}/{rounds} {server.name}: ' +
                    ', '.join(f'{value:.4g} {row.units[metric]}' for metric, value in figures.items()))
    return row


# --- Requests --------------------------------------------------------------------------------

REQUEST_UNITS = {'us': 'CPU µs a request', 'rate': 'requests/s', 'failed': 'failed'}


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
    return interleave(row, makers, 3 if quick else 7,
                      lambda server: load(server, '/hello', 64, requests=requests, keep_alive=True),
                      lambda server: load(server, '/hello', 64, requests=1000, keep_alive=True))


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


def stream(quick):
    row = Row('a stream of 100 chunks', '100 bytes each from a generator, 16 connections at once', REQUEST_UNITS, [
        Target('CPU, x uWSGI sync (at most 1.15)', lambda r: r.median(HERE, 'us') / r.median('uWSGI sync', 'us'), 1.15)])
    makers = [lambda: servers.here(100), servers.sync, lambda: servers.greenlet(100), lambda: servers.gevent(100),
              lambda: servers.tornado(100), servers.uvicorn]
    requests = 500 if quick else 2000
    return interleave(row, makers, 3 if quick else 7, lambda server: load(server, '/stream', 16, requests=requests),
                      lambda server: load(server, '/stream', 16, requests=100))


def instructions(quick):
    row = Row('user instructions of a hello', 'cachegrind, a new connection each; two runs of different length, subtracted',
              {'instructions': 'instructions a request'},
              [Target('instructions a request (at most 55,000)', lambda r: r.median(HERE, 'instructions'), 55000)])
    if not shutil.which('valgrind'):
        row.notes.append('valgrind is not installed')
        return row
    few, many = 200, 700 if quick else 2200
    makers = [lambda prefix: servers.here(20, prefix=prefix), lambda prefix: servers.sync(prefix=prefix),
              lambda prefix: servers.gevent(20, prefix=prefix), lambda prefix: servers.tornado(20, prefix=prefix)]
    for make in makers:
        try:
            name, low = count_instructions(make, few)
            name, high = count_instructions(make, many)
        except Missing as missing:
            row.notes.append(str(missing))
            continue
        row.add(name, {'instructions': (high - low) / (many - few)})
        say(f'  {name}: {(high - low) / (many - few):,.0f} instructions a request')
    return row


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
    return server.name, int(counted[1].replace(',', ''))


# --- Waits -----------------------------------------------------------------------------------

def at_once(row, makers, rounds, path, requests, timeout=60):
    def measure(server):
        return load(server, path, requests, requests=requests, timeout=timeout)
    return interleave(row, makers, rounds, measure, measure)


def fetch(quick):
    clients = 200
    row = Row(f'requests.get to a 200 ms upstream, {clients} at once', 'nothing patched but for gevent; one worker',
              {'seconds': 's for all', 'us': 'CPU µs a request', 'failed': 'failed'},
              [Target('s for all (at most 0.5)', lambda r: r.median(HERE, 'seconds'), 0.5),
               Target('CPU, x gevent (at most 1)', lambda r: r.median(HERE, 'us') / r.median('uWSGI --gevent', 'us'), 1)])
    with contextlib.closing(Closing(servers.Upstream())) as upstream:
        environ = upstream.server.environ
        makers = [lambda: servers.here(300, environ=environ), lambda: servers.gevent(300, environ=environ),
                  lambda: servers.threads(clients, environ=environ)]
        return at_once(row, makers, 3 if quick else 7, '/fetch', clients)


def async_fetch(quick):
    row = Row("one fetch by Tornado's AsyncHTTPClient", 'from an upstream that answers at once, 16 connections; `await_` here, greenlets and '
              "callbacks in uWSGI's own engines", REQUEST_UNITS, [
                  Target("CPU, x uWSGI's own Tornado engine (at most 1)", lambda r: r.median(HERE, 'us') / r.median('uWSGI --tornado', 'us'), 1),
                  Target("CPU, x uWSGI's asyncio engine (at most 1)", lambda r: r.median(HERE, 'us') / r.median('uWSGI --asyncio', 'us'), 1)])
    with contextlib.closing(Closing(servers.Upstream(0))) as upstream:
        environ = upstream.server.environ
        makers = [lambda: servers.here(50, environ=environ), lambda: servers.tornado(50, environ=environ),
                  lambda: servers.asyncio_engine(50, environ=environ)]
        requests = 500 if quick else 2000
        return interleave(row, makers, 3 if quick else 7, lambda server: load(server, '/async_fetch', 16, requests=requests),
                          lambda server: load(server, '/async_fetch', 16, requests=100))


FETCHES = {  # Contender: how it is started, and its path.
    HERE: (lambda environ: servers.here(500, environ=environ), '/c_fetch'),
    f'{HERE}, AsyncHTTPClient': (lambda environ: servers.here(300, '--tornado-http-client', environ=environ), '/async_fetch'),
    'uvicorn + aiohttp': (lambda environ: servers.uvicorn(environ=environ), '/aiohttp'),
    'uvicorn + httpx': (lambda environ: servers.uvicorn(environ=environ), '/httpx'),
    'Tornado + curl': (lambda environ: servers.tornado_server('Tornado + curl', environ), '/'),
    'uWSGI --gevent + urllib3': (lambda environ: servers.gevent(300, environ=environ), '/urllib3'),
    'uWSGI --tornado': (lambda environ: servers.tornado(300, environ=environ), '/async_fetch'),
}


def one_fetch(quick, delay_s, connections, most_us):
    row = Row(f'one fetch of 1 KiB, upstream of {delay_s * 1000:.0f} ms', f'{connections} connections at once; '
              '`uwsgi_tornado.fetch` and, on the same engine, Tornado\'s client', REQUEST_UNITS, [
                  Target(f'CPU µs a request (at most {most_us})', lambda r: r.median(HERE, 'us'), most_us),
                  Target('requests/s, x uvicorn + aiohttp (at least 1.8)',
                         lambda r: r.median(HERE, 'rate') / r.median('uvicorn + aiohttp', 'rate'), 1.8, at_least=True)])
    with contextlib.closing(Closing(servers.Upstream(delay_s, 1024))) as upstream:
        def make(name, start):
            server = start(upstream.server.environ)
            server.name = name
            return server

        def measure(server):
            return load(server, FETCHES[server.name][1], connections, requests=1000 if quick else 4000)
        makers = [lambda name=name, start=start: make(name, start) for name, (start, _) in FETCHES.items()]
        return interleave(row, makers, 3 if quick else 5, measure,
                          lambda server: load(server, FETCHES[server.name][1], connections, requests=2 * connections))


def fetch_at_once(quick):
    return one_fetch(quick, 0, 32, 75)


def fetch_50_ms(quick):
    return one_fetch(quick, 0.05, 400, 90)


def fan_out(quick):
    row = Row('20 fetches in one request', 'an upstream of 50 ms, 16 requests at once; gather_ and asyncio.gather', REQUEST_UNITS)
    with contextlib.closing(Closing(servers.Upstream(0.05, 1024))) as upstream:
        environ = upstream.server.environ
        makers = [lambda: servers.here(300, environ=environ), lambda: servers.uvicorn('uvicorn + aiohttp', environ)]
        return interleave(row, makers, 3 if quick else 5, lambda server: load(server, '/fan_out', 16, requests=100 if quick else 400),
                          lambda server: load(server, '/fan_out', 16, requests=32))


def fetch_memory(quick):
    """What a transfer in flight adds to the memory of the worker, beyond a request that waits."""
    many = 500 if quick else 2000
    row = Row(f'{many:,} fetches in flight', "what each adds to the worker's memory, with its request's own; upstream of 5 s",
              {'private_kib': 'KiB each', 'failed': 'failed'})
    for _ in range(1 if quick else 3):
        with contextlib.closing(Closing(servers.Upstream(5, 1024))) as upstream, \
                contextlib.closing(Closing(servers.here(many + 20, environ=upstream.server.environ))) as here:
            load(here.server, '/hello', 10, requests=200)
            before = here.server.memory_kib()[0]
            clients = subprocess.Popen(load_command(here.server, '/c_fetch', many, requests=many, ramp_ms=1000, timeout=60),
                                       stdout=subprocess.PIPE)
            most = before
            while clients.poll() is None:
                most = max(most, here.server.memory_kib()[0])
                time.sleep(0.05)
            figures = {'private_kib': (most - before) / many, 'failed': json.loads(clients.stdout.read())['failed']}
        row.add(HERE, figures)
        say(f'  {HERE}: ' + ', '.join(f'{v:.4g} {row.units[k]}' for k, v in figures.items()))
    return row


def await_done(quick):
    row = Row('await_ of what need not wait', 'in one request, best of 5', {'future': 'ns, a future that is done', 'coroutine': 'ns, a coroutine'})

    def measure(server):
        future, coroutine = get(server, '/await').split()
        return {'future': float(future), 'coroutine': float(coroutine)}
    return interleave(row, [lambda: servers.here(10)], 3 if quick else 9, measure)


def query(quick):
    row = Row('psycopg2, select pg_sleep(0.2), 100 at once', 'nothing patched but for gevent; one worker, a connection for each core',
              {'seconds': 's for all', 'failed': 'failed'},
              [Target('s for all (at most 0.35)', lambda r: r.median(HERE, 'seconds'), 0.35)])
    try:
        postgres = servers.Postgres()
    except Missing as missing:
        row.notes.append(str(missing))
        return row
    with contextlib.closing(Closing(postgres)):
        environ = postgres.environ
        at_once(row, [lambda: servers.here(110, environ=environ), lambda: servers.threads(100, environ=environ)],
                3 if quick else 7, '/query', 100)
        # It takes its 20 seconds each time: once will do.
        return interleave(row, [lambda: servers.gevent(110, environ=environ)], 1,
                          lambda server: load(server, '/query', 100, requests=100, timeout=60))


def suspended(quick):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    many = min(2000 if quick else 10000, hard - 200)
    row = Row(f'{many:,} requests suspended at once', "what each adds to the worker's memory; uWSGI's own are its shared buffers and the "
              f'{HEADER_BUFFER_KIB} KiB it allocates for the headers of each response; all are answered at the end',
              {'private_kib': "KiB each beyond uWSGI's own", 'uwsgi_kib': "KiB each, uWSGI's own", 'tables_kib': 'KiB each, page tables',
               'failed': 'failed'},
              [Target("resident KiB each beyond uWSGI's own (at most 14)", lambda r: r.median(HERE, 'private_kib'), 14),
               Target('requests lost (none)', lambda r: r.median(HERE, 'failed'), 0)])
    for number in range(1 if quick else 3):
        for make in (servers.here, servers.gevent, servers.tornado):
            try:
                server = make(many + 20)
            except Missing as missing:
                row.notes.append(str(missing))
                continue
            with contextlib.closing(Closing(server)):
                figures = hold(server, many)
            row.add(server.name, figures)
            say(f'  {number + 1} {server.name}: ' + ', '.join(f'{v:.4g} {row.units[k]}' for k, v in figures.items()))
    return row


HEADER_BUFFER_KIB = resource.getpagesize() // 1024  # wsgi_req_setup(): uwsgi_buffer_new(uwsgi.page_size).


def hold(server, many):
    """Memory before, with `many` requests suspended, and how many were lost when they went on."""
    load(server, '/hello', 10, requests=200)
    before = server.memory_kib()
    clients = subprocess.Popen(load_command(server, '/hold', many, requests=many, ramp_ms=3000, timeout=120),
                               stdout=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while (waiting := int(get(server, '/waiting'))) < many and time.monotonic() < deadline:
            time.sleep(0.1)
        private, shared, tables = (then - first for then, first in zip(server.memory_kib(), before))
        get(server, '/release')
        answers = json.loads(clients.communicate(timeout=120)[0])
    finally:
        clients.kill()
        clients.wait()
    return {'private_kib': private / waiting - HEADER_BUFFER_KIB, 'uwsgi_kib': shared / waiting + HEADER_BUFFER_KIB,
            'tables_kib': tables / waiting, 'failed': many - answers['ok']}


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
                      2 if quick else 5, measure)


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
    return interleave(row, [lambda: servers.here(10), no_quantum], 3 if quick else 9, measure, lambda server: get(server, work))


NO_QUANTUM = '--tornado-quantum 0'


def no_quantum(cores=10):
    server = servers.here(cores, '--tornado-quantum', '0')
    server.name = NO_QUANTUM
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


ROWS = {row.__name__: row for row in
        (hello, kept, timer, stream, instructions, fetch, fetch_at_once, fetch_50_ms, fan_out, fetch_memory, async_fetch, await_done,
         query, suspended, two_compute, ten_compute, compute_cost, socketpair, lock)}
