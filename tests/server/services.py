"""Real servers for the tests of drivers: each is started once, at the first test that asks.

They run in a temporary folder on free ports of the loopback, as an unprivileged user where
the tests run as root (PostgreSQL and MariaDB refuse root), and end with the test session.
"""
import contextlib
import glob
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

START_S = 60
STOP_S = 30
MAX_CONNECTIONS = 300


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def first_of_free_ports(count):
    """A number below so many ports that are free and follow each other."""
    while True:
        with contextlib.ExitStack() as stack:
            probe = stack.enter_context(socket.create_server(('127.0.0.1', 0)))
            port = probe.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                for number in range(1, count):
                    stack.enter_context(socket.create_server(('127.0.0.1', port + number)))
                return port - 1


def wait_until(condition, what, process=None, timeout_s=START_S):
    """Waits until condition() is true; an exception of it means not yet."""
    deadline = time.monotonic() + timeout_s
    reason = 'it is false'
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f'{what}: the server ended with {process.returncode}')
        try:
            if condition():
                return
        except Exception as error:  # Whatever the driver raises while its server starts.
            reason = repr(error)
        time.sleep(0.01)  # A poll of the condition above, not a guess at its time.
    raise RuntimeError(f'{what}: not within {timeout_s} s: {reason}')


def accepts(port):
    with socket.create_connection(('127.0.0.1', port), timeout=1):
        return True


def unprivileged(*command, end_signal='TERM'):
    """The command, run as nobody where we are root, and ended if the tests are killed."""
    prefix = ['setpriv', '--pdeathsig', end_signal]
    if os.geteuid() == 0:
        prefix += ['--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups']
    return [*prefix, *map(str, command)]


class Service:
    """A server process with a folder and a port of its own."""

    end_signal = signal.SIGTERM

    def __init__(self):
        # Not below pytest's own folder, which other users may not enter.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='uwsgi-tornado-'))
        if os.geteuid() == 0:
            shutil.chown(self.folder, 'nobody', 'nogroup')
        self.port = free_port()
        self.process = None
        try:
            self.set_up()
            with open(self.folder / 'log', 'wb') as log:
                end = signal.Signals(self.end_signal).name[3:]
                self.process = subprocess.Popen(
                    unprivileged(*self.command(), end_signal=end), stdout=log,
                    stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.folder)
            wait_until(self.is_ready, f'{type(self).__name__} to start', self.process)
        except BaseException:
            self.stop()
            raise

    def set_up(self):
        """What must be there before the server starts."""

    def command(self):
        raise NotImplementedError

    def is_ready(self):
        return accepts(self.port)

    def run(self, *command):
        done = subprocess.run(unprivileged(*command), cwd=self.folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout

    def stop(self):
        if self.process is not None:
            self.process.send_signal(self.end_signal)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class PostgreSQL(Service):
    end_signal = signal.SIGINT  # Ends its clients' sessions; SIGTERM would wait for them.
    programs = pathlib.Path(sorted(glob.glob('/usr/lib/postgresql/*/bin') or ['/usr/bin'])[-1])

    @property
    def dsn(self):
        return f'host=127.0.0.1 port={self.port} user=app dbname=postgres'

    def set_up(self):
        self.run(self.programs / 'initdb', '-D', self.folder / 'data', '-U', 'app', '-A', 'trust',
                 '-E', 'UTF8', '--locale=C', '--no-sync')

    def command(self):
        settings = {'listen_addresses': '127.0.0.1', 'unix_socket_directories': '', 'fsync': 'off',
                    'max_connections': MAX_CONNECTIONS, 'shared_buffers': '32MB'}
        return [self.programs / 'postgres', '-D', self.folder / 'data', '-p', self.port,
                *(f'--{name}={value}' for name, value in settings.items())]

    def is_ready(self):
        return self.query('select 1') == [(1,)]

    def query(self, statement, *values):
        """Runs one statement on a connection of its own; its rows, if it gives any."""
        import psycopg2
        with contextlib.closing(psycopg2.connect(self.dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else None

    def sessions(self):
        """How many sessions clients have open now, this one left out."""
        return self.query("select count(*) from pg_stat_activity where backend_type = 'client backend'"
                          ' and pid <> pg_backend_pid()')[0][0]


class MariaDB(Service):
    program = shutil.which('mariadbd') or '/usr/sbin/mariadbd'
    # As MariaDB 11 and earlier ones name it.
    system_tables = [pathlib.Path('/usr/share/mariadb/mariadb_system_tables.sql'), pathlib.Path('/usr/share/mysql/mysql_system_tables.sql')]

    def settings(self):
        return ['--no-defaults', f'--datadir={self.folder}/data', '--innodb-buffer-pool-size=16M',
                '--innodb-log-file-size=4M', '--innodb-flush-log-at-trx-commit=0']

    # What mariadb-install-db does, without the packages its script needs.
    def set_up(self):
        tables = self.folder / 'tables.sql'
        script = next(filter(pathlib.Path.exists, self.system_tables)).read_text()
        tables.write_text('create database mysql;\nuse mysql;\n' + script)
        self.run('sh', '-c', 'mkdir data && exec "$@" < tables.sql', 'sh',
                 self.program, *self.settings(), '--bootstrap')

    def command(self):
        return [self.program, *self.settings(), f'--port={self.port}', '--bind-address=127.0.0.1',
                f'--socket={self.folder}/socket', f'--pid-file={self.folder}/pid',
                f'--max-connections={MAX_CONNECTIONS}', '--skip-name-resolve', '--skip-grant-tables']

    def is_ready(self):
        return self.query('select 1') == ((1,),)

    def query(self, statement):
        import MySQLdb
        with contextlib.closing(MySQLdb.connect(host='127.0.0.1', port=self.port, user='root')) as connection:
            connection.autocommit(True)
            with contextlib.closing(connection.cursor()) as cursor:
                cursor.execute(statement)
                return cursor.fetchall()

    def sessions(self):
        return self.query('select count(*) from information_schema.processlist'
                          " where id <> connection_id() and user = 'root'")[0][0]


class Redis(Service):
    def command(self):
        return ['redis-server', '--port', self.port, '--bind', '127.0.0.1', '--save', '',
                '--appendonly', 'no', '--dir', self.folder, '--maxclients', MAX_CONNECTIONS]

    def is_ready(self):
        return self.client().ping()

    def client(self):
        import redis
        return redis.Redis(port=self.port)


class Memcached(Service):
    def command(self):
        return ['memcached', '-l', '127.0.0.1', '-p', self.port, '-c', 1024, '-m', 16]


class Nginx(Service):
    """A real nginx. A subclass says in set_up() what its http block has."""

    program = shutil.which('nginx') or '/usr/sbin/nginx'

    def configure(self, http):
        (self.folder / 'nginx.conf').write_text(NGINX_CONF.format(folder=self.folder, http=http))
        if os.geteuid() == 0:
            for path in self.folder.rglob('*'):
                shutil.chown(path, 'nobody', 'nogroup')

    def command(self):
        return [self.program, '-p', self.folder, '-c', self.folder / 'nginx.conf', '-e', self.folder / 'errors']


NGINX_CONF = '''
daemon off;
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
}}
'''


class NginxPages(Nginx):
    """Over HTTP on `port`, TLS and HTTP/2 on `tls_port` of 127.0.0.1 and 127.0.0.2, and on the socket `socket`."""

    def __init__(self, certificate):
        self.certificate = certificate
        self.tls_port = free_port()
        super().__init__()

    @property
    def socket(self):
        return str(self.folder / 'socket')

    def set_up(self):
        for name, source in zip(('certificate.pem', 'key.pem'), self.certificate):
            shutil.copy(source, self.folder / name)
        (self.folder / 'pages').mkdir()
        (self.folder / 'pages' / 'text.txt').write_text('a line of text\n' * 10000)
        (self.folder / 'pages' / 'big').write_bytes(bytes(range(256)) * 4 * 20480)
        self.configure(PAGES_CONF.format(self=self))


PAGES_CONF = '''
    types {{ text/plain txt; }}
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{self.port};
        listen 127.0.0.1:{self.tls_port} ssl http2;
        listen 127.0.0.2:{self.tls_port} ssl http2;
        listen unix:{self.folder}/socket;
        ssl_certificate {self.folder}/certificate.pem;
        ssl_certificate_key {self.folder}/key.pem;
        root {self.folder}/pages;
        gzip on;
        gzip_types text/plain;
        dav_methods PUT DELETE;
        location = /who {{ return 200 "$connection $server_protocol $request_method $host"; }}
        location = /moved {{ return 302 /who; }}
        location = /moved-to-tls {{ return 302 https://127.0.0.1:{self.tls_port}/who; }}
        location = /round {{ return 302 /round; }}
        location = /refused {{ return 403 "no"; }}
    }}
'''


def running(service):
    """The body of a fixture: the service, stopped when the session ends."""
    started = service()
    yield started
    started.stop()


@pytest.fixture(scope='session')
def postgres():
    yield from running(PostgreSQL)


@pytest.fixture(scope='session')
def mariadb():
    yield from running(MariaDB)


@pytest.fixture(scope='session')
def redis_server():
    yield from running(Redis)


@pytest.fixture(scope='session')
def nginx(certificate):
    yield from running(lambda: NginxPages(certificate))


@pytest.fixture(scope='session')
def memcached():
    yield from running(Memcached)
