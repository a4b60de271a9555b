"""The apps of the driver tests in one worker, beside threads of Python's that never rest.

/<name>/... goes to the app of that name; the other routes are functions of this module.
"""
import contextlib
import gc
import hashlib
import importlib.util
import json
import os
import pathlib
import threading
import time

import httpx
import uwsgi
import uwsgi_tornado

import basic
import locks
import programs
import rule
import with_flask
import with_memcached
import with_mysql
import with_postgres
import with_processes
import with_redis
import with_smtp
import with_sqlite

APPS = pathlib.Path(basic.__file__).parent
CORES = int(os.environ['CORES'])


def another(name, **environ):
    """The app as a module of its own, with other settings."""
    os.environ.update(environ)
    spec = importlib.util.spec_from_file_location(f'{name}_{len(others)}', APPS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    others.append(module)
    return module


others = []
http = another('with_http')
https = another('with_http', URL=os.environ['TLS_URL'], CA=os.environ['TLS_CA'])
sqlalchemy = another('with_sqlalchemy', URL=os.environ['DATABASE_URL'])

MOUNTED = {
    'basic': basic, 'locks': locks, 'programs': programs, 'rule': rule, 'flask': with_flask,
    'memcached': with_memcached, 'mysql': with_mysql, 'postgres': with_postgres,
    'processes': with_processes, 'redis': with_redis, 'smtp': with_smtp, 'sqlite': with_sqlite,
    'http': http, 'https': https, 'sqlalchemy': sqlalchemy,
}

# --- Threads beside the requests ---

ticks = {'sleeper': 0, 'worker': 0}


def sleep_on():
    while True:
        time.sleep(0.005)
        ticks['sleeper'] += 1


def work_on():
    while True:
        hashlib.sha256(b'x' * 100_000).hexdigest()  # Gives the GIL up.
        sum(range(1000))
        ticks['worker'] += 1
        time.sleep(0.02)


def start_threads():
    for body in (sleep_on, work_on):
        threading.Thread(target=body, daemon=True).start()
    locks.start_servers(None)
    # All the threads it may have, now: it starts them as it needs them.
    everyone = threading.Barrier(8)
    list(locks.executor.map(lambda _: everyone.wait(), range(8)))


# --- Uploads, downloads, streams ---


def upload(environ):
    """The size and the digest of the body, read in small pieces."""
    digest, size = hashlib.sha1(), 0
    while piece := environ['wsgi.input'].read(8192):
        digest.update(piece)
        size += len(piece)
    return f'{size} {digest.hexdigest()}'


def download(environ):
    """That many bytes at once: more than the socket takes."""
    return os.urandom(16).hex().encode() * (int(environ['QUERY_STRING']) // 32)


def stream(environ):
    number, count = environ['QUERY_STRING'].split('.')
    for part in range(int(count)):
        time.sleep(0.01)
        yield f'{number}.{part} '.encode() * 500


def large_from_postgres(environ):
    n = int(environ['QUERY_STRING'])
    with contextlib.closing(with_postgres.DRIVERS['psycopg2'].connect()) as connection, connection.cursor() as cursor:
        cursor.execute('select pg_sleep(0.05), repeat(%s, 1000000)', [str(n % 10)])
        text = cursor.fetchone()[1]
    return f'{n} {len(text)} {set(text)}'


def spawn(environ):
    n = environ['QUERY_STRING']
    pid = os.posix_spawnp('sh', ['sh', '-c', f'sleep 0.2; exit {n}'], os.environ)
    _, status = os.waitpid(pid, 0)
    return f'{n} {os.waitstatus_to_exitcode(status)}'


# --- How the worker is ---


def report(environ):
    return json.dumps({
        'blocking': uwsgi_tornado.blocking_report(), 'threads': threading.active_count(), 'ticks': ticks})


all_here = threading.Barrier(CORES)


def settle(environ):
    """Asked once for each core, at the same time: gives up every connection that a core or a pool keeps."""
    first = all_here.wait(60) == 0
    for module in (with_postgres, with_mysql, with_memcached, http, https):
        for kept in list(vars(module.local).values()):
            (getattr(kept, 'disconnect_all', None) or kept.close)()
        vars(module.local).clear()
    with_memcached.memcache_client.disconnect_all()
    if first:
        close_pools()
    all_here.wait(60)
    return 'settled'


def close_pools():
    for app in with_redis.APPS.values():
        app.client.connection_pool.disconnect()
        app.few.connection_pool.disconnect()
    with_memcached.pymemcache_client.close()
    sqlalchemy.engine.dispose()
    for module in (http, https):
        module.urllib3_pool.clear()
        module.small_pool.clear()
        module.httpx_client.close()
        module.httpx_client = httpx.Client(verify=module.context if module.CA else True, timeout=30)


def count_objects(environ):
    gc.collect()
    return str(len(gc.get_objects()))


def application(environ, start_response):
    name, _, rest = environ['PATH_INFO'][1:].partition('/')
    if name in MOUNTED:
        environ['PATH_INFO'] = '/' + rest
        return MOUNTED[name].application(environ, start_response)
    body = globals()[name](environ)
    if name == 'stream':
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return body
    body = body if isinstance(body, bytes) else body.encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]


start_threads()
