"""Rows of requests that fetch over HTTP."""
import contextlib
import json
import subprocess
import time

import servers
from measure import HERE, REQUEST_UNITS, Closing, Row, Target, get, interleave, interleave_afresh, load, load_command


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

    def measure(server):
        load(server, '/hello', 10, requests=200)
        before = server.memory_kib()[0]
        clients = subprocess.Popen(load_command(server, '/c_fetch', many, requests=many, ramp_ms=1000, timeout=60),
                                   stdout=subprocess.PIPE)
        most = before
        while clients.poll() is None:
            most = max(most, server.memory_kib()[0])
            time.sleep(0.05)
        return {'private_kib': (most - before) / many, 'failed': json.loads(clients.stdout.read())['failed']}
    with contextlib.closing(Closing(servers.Upstream(5, 1024))) as upstream:
        makers = {HERE: lambda: servers.here(many + 20, environ=upstream.server.environ)}
        return interleave_afresh(row, makers, 1 if quick else 3, measure)


def await_done(quick):
    row = Row('await_ of what need not wait', 'in one request, best of 5', {'future': 'ns, a future that is done', 'coroutine': 'ns, a coroutine'})

    def measure(server):
        future, coroutine = get(server, '/await').split()
        return {'future': float(future), 'coroutine': float(coroutine)}
    return interleave(row, [lambda: servers.here(10)], 3 if quick else 9, measure)
