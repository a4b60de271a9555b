"""Rows of ASGI's and Tornado's applications, beside the servers that were made for them."""
import contextlib
import json
import subprocess

import servers
from measure import HERE, REQUEST_UNITS, Missing, Row, Target, interleave, interleave_afresh, load

MESSAGE_UNITS = {'us': 'CPU µs a message', 'rate': 'messages/s', 'p99_ms': 'ms, p99'}
POST_SIZE = 10 << 10
IDLE = 5000


def times(limit, of='uvicorn'):
    return Target(f'CPU, x {of} (at most {limit})', lambda r: r.median(HERE, 'us') / r.median(of, 'us'), limit)


def contenders(app='asgi', cores=300, protocol='http11-socket'):
    """Debian 12's hypercorn closes each kept connection, and then stalls: it takes part where each request has a new one."""
    makers = [lambda: servers.here(cores, app=f'{app}.py', protocol=protocol), lambda: servers.uvicorn(app=app)]
    return makers + [lambda: servers.hypercorn(app=app)] if protocol == 'http-socket' else makers


def requests(row, makers, rounds, count, path='/hello', connections=64, **how):
    def measure(server):  # A quarter is enough of the slowest.
        return load(server, path, connections, requests=count // 4 if server.name == 'hypercorn' else count, **how)
    return interleave(row, makers, rounds, measure, lambda server: load(server, path, connections, requests=max(100, count // 20), **how))


# --- Requests --------------------------------------------------------------------------------

def asgi_kept(quick):
    row = Row('ASGI hello, kept alive', 'a raw application, 64 connections at once, `http11-socket`', REQUEST_UNITS, [times(0.75)])
    return requests(row, contenders(), 3 if quick else 7, 4000 if quick else 16000, keep_alive=True)


def asgi_new(quick):
    row = Row('ASGI hello, a new connection each', 'the same on `http-socket`', REQUEST_UNITS, [times(0.6)])
    return requests(row, contenders(protocol='http-socket'), 3 if quick else 7, 2000 if quick else 6000)


def starlette(quick):
    row = Row("Starlette's hello, kept alive", '64 connections at once', REQUEST_UNITS)
    return requests(row, contenders('starlette_hello'), 3 if quick else 5, 2000 if quick else 6000, keep_alive=True)


def fastapi(quick):
    row = Row('a `def` endpoint of FastAPI, kept alive', '64 connections at once; a virtual thread here, a pool of threads elsewhere', REQUEST_UNITS)
    return requests(row, contenders('fastapi_hello'), 3 if quick else 5, 1000 if quick else 3000, keep_alive=True)


def asgi_post(quick):
    row = Row('a POST of 10 KiB echoed, kept alive', 'a raw ASGI application, 64 connections at once', REQUEST_UNITS)
    return requests(row, contenders(), 3 if quick else 5, 2000 if quick else 6000, path='/echo', keep_alive=True, post=POST_SIZE)


def asgi_stream(quick):
    row = Row('ASGI, a stream of 100 chunks', '100 bytes each, one `send()` each, 16 connections at once', REQUEST_UNITS, [times(1.0)])
    return requests(row, contenders(protocol='http-socket'), 3 if quick else 5, 300 if quick else 1000, path='/stream', connections=16)


def tornado_kept(quick):
    return tornado_row(quick, 'kept alive', 'http11-socket', keep_alive=True)


def tornado_new(quick):
    return tornado_row(quick, 'a new connection each', 'http-socket')


def tornado_row(quick, how, protocol, **more):
    row = Row(f"Tornado's hello, {how}", "the same handler here and under Tornado's own server, 64 connections at once", REQUEST_UNITS,
              [times(0.6, "Tornado's own")])
    makers = [lambda: servers.here(300, app='tornado_hello.py', protocol=protocol), servers.tornado_hello]
    return requests(row, makers, 3 if quick else 5, 1000 if quick else 4000, **more)


# --- Websockets ------------------------------------------------------------------------------

@contextlib.contextmanager
def websockets(server, path, connections, *how):
    """The load program, with every connection open. It waits to be told to begin."""
    command = [str(servers.build('websockets')), str(server.port), path, '--connections', str(connections), *how]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        if client.stdout.readline() != 'open\n':
            raise Missing(f'{server.name}: {client.communicate(timeout=10)[1].strip()}')
        yield client
    finally:
        client.kill()
        client.communicate()


def messages(server, path, connections, count, *how):
    with websockets(server, path, connections, '--messages', str(count), *how) as client:
        before = server.cpu_s()
        told, complaint = client.communicate('\n', timeout=120)
        if client.returncode:
            raise Missing(f'{server.name}: {complaint.strip()}')
        figures = json.loads(told)
        return {**figures, 'us': (server.cpu_s() - before) / figures['ok'] * 1e6}


def message_row(row, rounds, path, connections, count, *how):
    return interleave(row, contenders('asgi_websockets'), rounds, lambda server: messages(server, path, connections, count, *how),
                      lambda server: messages(server, path, connections, 2 * connections, *how))


def websocket_echo(quick):
    row = Row('a websocket echo', 'messages of 32 bytes, a raw ASGI application, 64 connections at once', MESSAGE_UNITS, [times(0.7)])
    return message_row(row, 3 if quick else 7, '/', 64, 4000 if quick else 12800)


def websocket_broadcast(quick):
    row = Row('a broadcast to 200 websockets', 'a message of 32 bytes from one of them, then the next', MESSAGE_UNITS)
    return message_row(row, 3 if quick else 5, '/broadcast', 200, 4000 if quick else 20000, '--broadcast')


def websocket_memory(quick):
    many = 1000 if quick else IDLE
    row = Row(f'memory of an idle websocket among {many:,}', 'what each adds to the server', {
        'private_kib': 'KiB each', 'shared_kib': 'KiB each, shared', 'tables_kib': 'KiB each, page tables', 'total_kib': 'KiB each in all'},
        [Target('in all, x uvicorn (at most 1)', lambda r: r.median(HERE, 'total_kib') / r.median('uvicorn', 'total_kib'), 1)])
    here, uvicorn = contenders('asgi_websockets', cores=many + 50)

    def measure(server):
        with websockets(server, '/', 50):
            pass
        before = server.memory_kib()
        with websockets(server, '/', many):
            private, shared, tables = ((then - first) / many for then, first in zip(server.memory_kib(), before))
        return {'private_kib': private, 'shared_kib': shared, 'tables_kib': tables, 'total_kib': private + shared + tables}
    return interleave_afresh(row, {HERE: here, 'uvicorn': uvicorn}, 1 if quick else 3, measure)


ROWS = (asgi_kept, asgi_new, starlette, fastapi, asgi_post, asgi_stream, websocket_echo, websocket_broadcast, websocket_memory,
        tornado_kept, tornado_new)
