"""Rows of applications that people have: Flask and Django on PostgreSQL, and servers behind nginx. `make bench-apps`."""
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import servers
from measure import HERE, REQUEST_UNITS, Closing, Missing, Row, Target, interleave, load

UNITS = {**REQUEST_UNITS, 'p99_ms': 'ms, p99'}
CLIENTS = 64
THREADS = 'uWSGI --threads'


def with_tables():
    """A PostgreSQL that has what worlds.py asks for."""
    database = servers.Postgres()
    make = subprocess.run([sys.executable, '-c', 'import worlds; worlds.make_tables()'], cwd=servers.HERE / 'apps',
                          env={**os.environ, **database.environ}, capture_output=True, text=True)
    if make.returncode:
        database.stop()
        raise Missing(f'the tables: {make.stderr.strip().splitlines()[-1]}')
    return database


def asked(row, makers, quick, path, count, clients=CLIENTS):
    requests = count // 4 if quick else count
    return interleave(row, makers, 2 if quick else 5, lambda server: load(server, path, clients, requests=requests, timeout=120),
                      lambda server: load(server, path, clients, requests=max(clients, requests // 4), timeout=120))


# --- Flask, in the manner of TechEmpower's ------------------------------------------------------

AS_MANY_CORES = f'{HERE}, --tornado 64'


def as_many_cores(**app):
    """With no more requests at once than there are database connections, so the others stay in the listen queue."""
    server = servers.here(64, **app)
    server.name = AS_MANY_CORES
    return server


NICE = -10


def favoured(make, *arguments, **app):
    """A server that the scheduler prefers to the database's processes. README.md says why."""
    server = make(*arguments, prefix=['setsid'], **app)
    server.name += f', nice {NICE}'
    try:
        autogroup = pathlib.Path(f'/proc/{server.process.pid}/autogroup')  # Of the session; nice itself counts only within one.
        if autogroup.exists():
            autogroup.write_text(str(NICE))
        for thread in os.listdir(f'/proc/{server.process.pid}/task'):
            os.setpriority(os.PRIO_PROCESS, int(thread), NICE)
    except PermissionError:
        server.stop()
        raise Missing(f'{server.name} takes root') from None
    return server


def flask_makers(environ, clients, with_favoured):
    app = {'app': 'flask_worlds.py', 'environ': environ}
    few = [lambda: as_many_cores(**app)] if clients > 64 else []
    first = [lambda: favoured(servers.here, 600, **app), lambda: favoured(servers.threads, 64, **app)] if with_favoured else []
    return [*few, lambda: servers.here(600, **app), lambda: servers.threads(64, **app), *first, lambda: servers.gevent(600, **app),
            lambda: servers.gunicorn('gthread', 'flask_worlds', environ), lambda: servers.gunicorn('gevent', 'flask_worlds', environ)]


def flask(path, title, count, limit=None, clients=CLIENTS, with_favoured=False):
    def row_of(quick):
        row = Row(f'Flask and psycopg2, {title}', f'{clients} clients, a new connection each, 64 connections to a local PostgreSQL; '
                  "gevent's are patched, with psycopg2's wait callback set", UNITS)
        if limit:
            row.targets = [Target(f'CPU, x --threads (at most {limit})', lambda r: r.median(HERE, 'us') / r.median(THREADS, 'us'), limit)]
        with contextlib.closing(Closing(with_tables())) as database:
            return asked(row, flask_makers(database.server.environ, clients, with_favoured), quick, f'/{path}', count, clients)
    return row_of


# --- Django ------------------------------------------------------------------------------------

def django(path, title, count):
    def row_of(quick):
        row = Row(f"Django's ORM, {title}", f'{CLIENTS} clients, a new connection each, persistent connections to a local PostgreSQL; '
                  'uvicorn serves it as ASGI', UNITS)
        with contextlib.closing(Closing(with_tables())) as database:
            app = {'app': 'django_worlds.py', 'environ': database.server.environ}
            return asked(row, [lambda: servers.here(64, **app), lambda: servers.threads(64, **app),
                               lambda: servers.gunicorn('gthread', 'django_worlds', database.server.environ),
                               lambda: servers.uvicorn(environ=database.server.environ, app='django_worlds', what='asgi')],
                         quick, f'/{path}', count)
    return row_of


# --- Behind nginx --------------------------------------------------------------------------------

class BehindNginx:
    """A server that is asked through nginx, and measured alone."""

    def __init__(self, name, server, site):
        self.name, self.server = name, server
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='uwsgi-tornado-bench-nginx-'))
        self.port = servers.free_port()
        self.nginx = None
        try:
            self.nginx = self.start(site)
        except BaseException:
            self.stop()
            raise

    def start(self, site):
        if not shutil.which('nginx'):
            raise Missing('nginx is not installed')
        (self.folder / 'nginx.conf').write_text(f'''
            daemon off; pid {self.folder}/pid; error_log stderr crit; worker_processes 1; events {{ worker_connections 2048; }}
            http {{
                access_log off; keepalive_requests 1000000;
                client_body_temp_path {self.folder}; proxy_temp_path {self.folder}; fastcgi_temp_path {self.folder};
                uwsgi_temp_path {self.folder}; scgi_temp_path {self.folder};
                upstream application {{ server {site}; keepalive 64; }}
                server {{
                    listen 127.0.0.1:{self.port} backlog=4096;
                    location / {{ {self.how(site)} }}
                }}
            }}''')
        nginx = subprocess.Popen(['nginx', '-p', str(self.folder), '-c', str(self.folder / 'nginx.conf')], stderr=subprocess.DEVNULL)
        servers.wait_for_port(self.port, nginx)
        return nginx

    @staticmethod
    def how(site):
        if site.startswith('unix:'):
            return 'include /etc/nginx/uwsgi_params; uwsgi_pass application;'
        return 'proxy_pass http://application; proxy_http_version 1.1; proxy_set_header Connection "";'

    def cpu_s(self):
        return self.server.cpu_s()

    def is_running(self):
        return self.server.is_running()

    def last_words(self):
        return self.server.last_words()

    def stop(self):
        if self.nginx is not None:
            self.nginx.terminate()
            self.nginx.wait(10)
        self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def by_socket(make):
    """The uwsgi protocol on a unix socket. The socket for HTTP beside it says that the server is there."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix='uwsgi-tornado-bench-socket-'))
    folder.chmod(0o755)  # nginx's workers run as another user.
    server = make(folder / 'socket')
    return BehindNginx(f'{server.name}, uwsgi_pass', server, f'unix:{folder}/socket')


def by_http(server):
    return BehindNginx(f'{server.name}, proxy_pass', server, f'127.0.0.1:{server.port}')


def nginx(quick):
    row = Row('a hello behind nginx', f'{CLIENTS} kept connections to nginx; CPU of the server alone. uwsgi_pass: the uwsgi protocol on a unix '
              'socket; proxy_pass: HTTP on kept connections, if the server keeps them', UNITS,
              [Target('CPU by uwsgi_pass, x uWSGI sync (at most 1.05)',
                      lambda r: r.median(f'{HERE}, uwsgi_pass', 'us') / r.median('uWSGI sync, uwsgi_pass', 'us'), 1.05)])
    makers = [lambda: by_socket(lambda path: servers.here(300, socket=path)),
              lambda: by_socket(lambda path: servers.sync(socket=path)),
              lambda: by_socket(lambda path: servers.threads(64, socket=path)),
              lambda: by_socket(lambda path: servers.gevent(300, socket=path)),
              lambda: by_http(servers.here(300, protocol='http11-socket')), lambda: by_http(servers.gunicorn('gthread')),
              lambda: by_http(servers.uvicorn())]
    requests = 2000 if quick else 8000

    def measure(server):
        return load(server, '/hello', CLIENTS, requests=requests, keep_alive=True)
    return interleave(row, makers, 2 if quick else 5, measure, measure)


ROWS = {
    'flask_json': flask('json', 'JSON', 4000),
    'flask_query': flask('query', 'one query', 3000, 0.75),
    'flask_queries': flask('queries', '20 queries', 800, 0.8),
    'flask_queries_512': flask('queries', '20 queries, 512 clients', 1024, clients=512, with_favoured=True),
    'flask_fortunes': flask('fortunes', 'fortunes by a template', 2000),
    'flask_updates': flask('updates', '20 updates', 400, with_favoured=True),
    'django_query': django('query', 'one query', 2000),
    'django_queries': django('queries', '20 queries', 400),
    'nginx': nginx,
}
