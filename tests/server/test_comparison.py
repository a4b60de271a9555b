"""The README's comparison: each cell says what its server is seen to do with tests/apps/compared.py.

Nothing is timed: a request has suspended when another ran before its wait was over.
"""
import concurrent.futures
import contextlib
import http.server
import inspect
import re
import shutil
import subprocess
import threading
import time

import pytest
from uvicorn.middleware.wsgi import WSGIMiddleware

import peers
from conftest import EMBEDDED, ROOT, python_version

pytestmark = [
    pytest.mark.skipif(bool(EMBEDDED), reason='the peers are the same, and this engine has been compared'),
    pytest.mark.skipif(python_version() >= (3, 12),
                       reason="the table is of Debian 12's servers: uWSGI's asyncio plugin does not start with later Pythons"),
]

UPSTREAM_S = 0.05
TRIES = 3

# A row of the table: how it is asked, and for which path.
ROWS = {
    'WSGI applications (Flask, Django)': ('serves', 'interfaces:application'),
    'ASGI applications (FastAPI, Starlette)': ('serves', 'interfaces:asgi'),
    "Tornado's applications": ('serves', 'tornado_interfaces:application'),
    "the standard library's blocking functions are patched": ('is_so', '/patched'),
    '`time.sleep`': ('meets', '/sleep'),
    '`requests.get`': ('meets', '/requests'),
    'a query of psycopg2': ('meets', '/psycopg2'),
    'a query of mysqlclient': ('meets', '/mysqlclient'),
    'a blocking call of a C library (libcurl, by pycurl)': ('meets', '/pycurl'),
    '`asyncio.run()`, in two requests at once': ('meets', '/asyncio_run'),
    "a client of asyncio's, shared by requests": ('keeps', '/client'),
    'a request that computes gives way': ('meets', '/compute'),
    "a `threading.local` is its request's own": ('keeps', '/local'),
    'websockets': ('echoes', '/websocket'),
    'a wait is ended by a deadline': ('ends_waits', '/deadline'),
    'a waiting request is told when its client disconnects': ('tells_who_left', '/leaves'),
    'requests in flight survive SIGHUP': ('survives_reload', '/survives'),
}
CPU = 'CPU for a hello'
# Where "no" needs no trial: the application has nothing to call, and would wait for ever.
NOT_TRIED = {('a wait is ended by a deadline', 'no')}


def table():
    """{row: {column: cell}}, without the marks of notes."""
    text = re.sub(r' *<sup>\d</sup>', '', (ROOT / 'README.md').read_text())
    lines = re.search(r'^\| \| uwsgi-tornado \|.*?\n\n', text, re.M | re.S)[0].strip().splitlines()
    split = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    columns = split[0][1:]
    return columns, {row[0]: dict(zip(columns, row[1:])) for row in split[2:]}


COLUMNS, TABLE = table()


@pytest.fixture(scope='module')
def upstream_of_all():
    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(UPSTREAM_S)
            self.send_response(200)
            self.send_header('Content-Length', '0')
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Slow) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{running.server_port}/'
        running.shutdown()


@pytest.fixture(scope='module')
def servers(tmp_path_factory, upstream_of_all, postgres, mariadb):
    environ = {'COMPARED_UPSTREAM': upstream_of_all, 'COMPARED_POSTGRES': postgres.dsn, 'COMPARED_MARIADB': str(mariadb.port)}
    folder = tmp_path_factory.mktemp('compared')
    with contextlib.ExitStack() as stack:
        started = {}
        for name in COLUMNS:
            started[name] = peers.Peer(name, folder, environ)
            stack.callback(started[name].kill)
        for peer in started.values():
            peer.wait_until_it_serves()
        yield started


def test_table_and_trials_have_the_same_rows_and_columns():
    assert list(TABLE) == [*ROWS, CPU]
    assert COLUMNS == list(peers.COMMANDS)


def is_as_the_cell_says(peer, row, cell):
    """'' or what was seen instead; what the machine may have spoilt is tried again."""
    kind, path = ROWS[row]
    seen = None
    for _ in range(TRIES):
        seen = getattr(peer, kind)(path)
        if seen == (cell != 'no'):
            return ''
        peer.rounds *= 4
    return f'{peer.name} has {cell!r}, seen: {seen}\n{peer.log}'


@pytest.mark.parametrize('row', ROWS)
def test_cells_say_what_is_seen(row, servers):
    tried = {name: cell for name, cell in TABLE[row].items() if cell != '-' and (row, cell) not in NOT_TRIED}
    assert tried
    with concurrent.futures.ThreadPoolExecutor(len(tried)) as pool:
        wrong = list(pool.map(lambda item: is_as_the_cell_says(servers[item[0]], row, item[1]), tried.items()))
    assert not any(wrong), '\n'.join(filter(None, wrong))


def test_threads_of_uvicorn_are_as_many_as_said():
    said = {cell for row in TABLE.values() for cell in row.values() if 'threads' in cell}
    assert said == {f'{inspect.signature(WSGIMiddleware).parameters["workers"].default} threads'}


def test_versions_are_those_that_were_tried():
    text = (ROOT / 'README.md').read_text()
    import gevent
    import gunicorn
    import uvicorn
    uwsgi = subprocess.check_output([shutil.which('uwsgi'), '--version'], text=True).strip().partition('-')[0]
    for name, version in {'uWSGI': uwsgi, 'gunicorn': gunicorn.__version__, 'gevent': gevent.__version__, 'uvicorn': uvicorn.__version__}.items():
        said = re.search(rf'\b{name} ([\d.]*\d)', text[text.index('## Compared'):])[1]
        assert version.startswith(said), f'{name} {version}'


def test_ratios_of_cpu_are_those_of_the_bench():
    """Roughly: a new run of the bench may differ."""
    results = (ROOT / 'bench' / 'RESULTS.md').read_text()
    hello = results[results.index('## hello, a new connection'):]
    measured = {'uwsgi-tornado': 'uwsgi-tornado', 'uWSGI gevent': 'uWSGI --gevent', 'uWSGI tornado': 'uWSGI --tornado',
                'gunicorn gevent': 'gunicorn gevent', 'uvicorn, ASGI': 'uvicorn'}
    cpu = {column: float(re.search(rf'^\| {re.escape(name)} \| ([\d.]+)', hello, re.M)[1]) for column, name in measured.items()}
    for column, cell in TABLE[CPU].items():
        if cell != '-':
            assert float(cell) == pytest.approx(cpu[column] / cpu['uwsgi-tornado'], rel=0.3), column
    assert {column for column, cell in TABLE[CPU].items() if cell != '-'} == set(measured)
