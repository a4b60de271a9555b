"""Starts what is measured and what it needs; reads its use of the machine from /proc."""
import contextlib
import glob
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = ROOT / 'build' / 'bench'
PLUGIN = ROOT / 'build' / 'tornado_plugin.so'
START_S = 30
TICKS_A_SECOND = os.sysconf('SC_CLK_TCK')


def build(name, *flags):
    """A program of ours beside this file."""
    source, program = HERE / f'{name}.cc', BUILD / name
    if not program.exists() or program.stat().st_mtime < max(path.stat().st_mtime for path in (source, *HERE.glob('*.h'))):
        BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run(['g++', '-std=gnu++17', '-O2', '-Wall', '-Wextra', '-Werror', str(source), '-o', str(program), *flags], check=True)
    return program


class Missing(Exception):
    """Something this machine does not have; the row goes on without it."""


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def wait_for_port(port, process):
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), timeout=1):
            return
        time.sleep(0.02)
    raise Missing(f'nothing listens on port {port}')


def processes_below(pid):
    """`pid` and every process it started."""
    parents = {}
    for stat in glob.glob('/proc/[0-9]*/stat'):
        with contextlib.suppress(OSError):
            text = pathlib.Path(stat).read_text()
            parents[int(text.split()[0])] = int(text.rsplit(')', 1)[1].split()[1])
    family = [pid]
    for one in family:
        family += [child for child, parent in parents.items() if parent == one]
    return family


def cpu_s_of(folder):
    """User and system time of what that folder of /proc tells of."""
    fields = pathlib.Path(folder, 'stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def thread_cpu_s(pid, thread):
    return cpu_s_of(f'/proc/{pid}/task/{thread}')


class Server:
    """One process (and its children) that listens on `port`."""

    end_signal = signal.SIGINT  # uWSGI reloads of SIGTERM. Who has no handler of its own may inherit that it is ignored.

    def __init__(self, name, command, port, environ=None):
        self.name, self.port = name, port
        BUILD.mkdir(parents=True, exist_ok=True)
        self.log = BUILD / f'{name.replace("/", " ")}.log'
        with open(self.log, 'wb') as log:
            try:
                self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=HERE / 'apps',
                                                env={**os.environ, **(environ or {})})
            except FileNotFoundError as error:
                raise Missing(f'{error.filename} is not installed') from None
        try:
            wait_for_port(port, self.process)
        except Missing:
            self.stop()
            raise Missing(f'{name} did not start: {self.last_words()}') from None

    def is_running(self):
        return self.process.poll() is None

    def last_words(self):
        lines = [line for line in self.log.read_text(errors='replace').splitlines() if line.strip()]
        told = [line for line in lines if 'UNABLE' in line or 'unrecognized' in line or 'tornado:' in line]
        return (told or lines or ['it said nothing'])[-1]

    def cpu_s(self):
        """User and system time so far."""
        total = 0
        for pid in processes_below(self.process.pid):
            with contextlib.suppress(OSError):
                total += cpu_s_of(f'/proc/{pid}')
        return total

    def memory_kib(self):
        """(private memory, shared memory, page tables)."""
        sums = [0, 0, 0]
        for pid in processes_below(self.process.pid):
            text = pathlib.Path(f'/proc/{pid}/status').read_text()
            for index, name in enumerate(('RssAnon', 'RssShmem', 'VmPTE')):
                sums[index] += int(re.search(rf'^{name}:\s+(\d+)', text, re.M)[1])
        return tuple(sums)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(self.end_signal)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


# --- The contenders --------------------------------------------------------------------------

def uwsgi(name, options, app='wsgi.py', protocol='http-socket', environ=None, prefix=(), socket=None):
    """socket: a path on which it serves the uwsgi protocol, too."""
    port = free_port()
    options = [*options, '--socket', str(socket), '--chmod-socket=666'] if socket else options
    return Server(name, [*prefix, 'uwsgi', *options, f'--{protocol}', f'127.0.0.1:{port}', '--wsgi-file', app,
                         '--need-app', '--listen', str(backlog()), '--disable-logging'], port, environ)


def backlog():
    return min(4096, int(pathlib.Path('/proc/sys/net/core/somaxconn').read_text()))


def here(cores=2100, *options, **how):
    if not PLUGIN.exists():
        raise Missing('the plugin is not built: make')
    return uwsgi('uwsgi-tornado', ['--plugin', 'python3', '--plugin', str(PLUGIN), '--tornado', str(cores), *options], **how)


def sync(**how):
    return uwsgi('uWSGI sync', ['--plugin', 'python3'], **how)


def threads(count=200, **how):
    return uwsgi('uWSGI --threads', ['--plugin', 'python3', '--threads', str(count)], **how)


def greenlet(cores=2100, **how):
    return uwsgi('uWSGI --greenlet', ['--plugin', 'python3,greenlet_python3', '--async', str(cores), '--greenlet'], **how)


def gevent(cores=2100, **how):
    return uwsgi('uWSGI --gevent', ['--plugin', 'python3,gevent_python3', '--gevent', str(cores),
                                    '--gevent-monkey-patch'], **how)


def tornado(cores=2100, **how):
    """uWSGI's own Tornado engine. Its plugin and option have our name: it is alone in its process."""
    return uwsgi('uWSGI --tornado', ['--plugin', 'python3,tornado_python3,greenlet_python3', '--tornado', str(cores),
                                     '--greenlet'], app='callbacks.py', **how)


def asyncio_engine(cores=2100, **how):
    return uwsgi('uWSGI --asyncio', ['--plugin', 'python3,asyncio_python3,greenlet_python3', '--asyncio', str(cores),
                                     '--greenlet'], app='callbacks.py', **how)


def uvicorn(name='uvicorn', environ=None, app='asgi', what='application'):
    port = free_port()
    return Server(name, ['uvicorn', '--host', '127.0.0.1', '--port', str(port), '--http', 'httptools', '--loop', 'uvloop',
                              '--no-access-log', '--log-level', 'warning', '--backlog', str(backlog()),
                              f'{app}:{what}'], port, environ)


def hypercorn(app='asgi'):
    port = free_port()
    return Server('hypercorn', ['hypercorn', '--bind', f'127.0.0.1:{port}', '--worker-class', 'uvloop', '--workers', '1',
                                '--backlog', str(backlog()), '--log-level', 'warning', f'{app}:application'], port)


class TornadoServer(Server):
    end_signal = signal.SIGTERM


def tornado_server(name, environ):
    """Tornado's own web server, with its client on pycurl."""
    port = free_port()
    return TornadoServer(name, [sys.executable, str(HERE / 'apps' / 'tornado_curl.py'), str(port)], port, environ)


def tornado_hello():
    port = free_port()
    return TornadoServer("Tornado's own", [sys.executable, str(HERE / 'apps' / 'tornado_hello.py'), str(port), str(backlog())], port)


def gunicorn(kind='gevent', app='wsgi', environ=None):
    """kind: gevent, or gthread, with as many threads as `threads` of applications.py has."""
    port = free_port()
    many = ['--worker-connections', '2100'] if kind == 'gevent' else ['--threads', '64', '--worker-connections', '600', '--keep-alive', '60']
    return Server(f'gunicorn {kind}', ['gunicorn', '--bind', f'127.0.0.1:{port}', '--worker-class', kind, '--workers', '1', *many,
                                       '--backlog', str(backlog()), '--log-level', 'warning', f'{app}:application'], port, environ)


# --- What the applications call ---------------------------------------------------------------

class Upstream(Server):
    """Answers each request after that many seconds."""

    end_signal = signal.SIGTERM

    def __init__(self, delay_s=0.2, body_size=5):
        port = free_port()
        super().__init__('upstream', [str(build('upstream', '-fno-strict-aliasing', '-lev')), str(port), str(delay_s), str(body_size)], port)
        self.environ = {'BENCH_UPSTREAM': f'http://127.0.0.1:{port}/'}


class Database(Server):
    """A server of its own, in a temporary folder, as an unprivileged user: neither takes root."""

    def __init__(self, name):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='uwsgi-tornado-bench-'))
        self.process, self.port = None, free_port()
        self.prefix = []
        if os.geteuid() == 0:
            shutil.chown(self.folder, 'nobody', 'nogroup')
            self.prefix = ['setpriv', '--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups']
        try:
            self.set_up()
            super().__init__(name, [*self.prefix, *self.command()], self.port)
        except BaseException:
            self.stop()
            raise

    def run(self, *command):
        subprocess.run([*self.prefix, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, cwd=self.folder)

    def stop(self):
        if self.process is not None:
            super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres(Database):
    def __init__(self):
        found = sorted(glob.glob('/usr/lib/postgresql/*/bin'))
        if not found:
            raise Missing('PostgreSQL is not installed')
        self.programs = found[-1]
        super().__init__('postgres')
        # It listens before it lets anybody in.
        while subprocess.run([f'{self.programs}/pg_isready', '-q', '-h', '127.0.0.1', '-p', str(self.port)]).returncode == 1:
            time.sleep(0.02)
        self.environ = {'BENCH_POSTGRES': f'host=127.0.0.1 port={self.port} user=bench dbname=postgres'}

    def set_up(self):
        self.run(f'{self.programs}/initdb', '-D', self.folder / 'data', '-U', 'bench', '-A', 'trust', '-E', 'UTF8', '--no-sync')

    def command(self):
        return [f'{self.programs}/postgres', '-D', str(self.folder / 'data'), '-p', str(self.port), '-h', '127.0.0.1',
                '-k', str(self.folder), '-N', '600', '-F']


class MariaDB(Database):
    end_signal = signal.SIGTERM
    program = shutil.which('mariadbd') or '/usr/sbin/mariadbd'
    tables = pathlib.Path('/usr/share/mysql/mysql_system_tables.sql')

    def __init__(self):
        if not os.path.exists(self.program) or not self.tables.exists():
            raise Missing('MariaDB is not installed')
        super().__init__('mariadb')
        self.environ = {'BENCH_MYSQL_PORT': str(self.port)}

    def settings(self):
        return ['--no-defaults', f'--datadir={self.folder}/data', '--innodb-buffer-pool-size=16M', '--innodb-log-file-size=4M']

    def set_up(self):
        """What mariadb-install-db does, without the packages its script needs."""
        script = self.folder / 'tables.sql'
        script.write_text('create database mysql;\nuse mysql;\n' + self.tables.read_text())
        self.run('sh', '-c', 'mkdir data && exec "$@" < tables.sql', 'sh', self.program, *self.settings(), '--bootstrap')

    def command(self):
        return [self.program, *self.settings(), f'--port={self.port}', '--bind-address=127.0.0.1', f'--socket={self.folder}/socket',
                f'--pid-file={self.folder}/pid', '--max-connections=300', '--skip-name-resolve', '--skip-grant-tables']
