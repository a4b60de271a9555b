"""Starts a real uWSGI for each test that asks, and checks how it ends.

TORNADO_PLUGIN   the plugin to load (make sets it)
UWSGI_EMBEDDED   a uwsgi binary with Python and the engine inside; no plugin is loaded then
TORNADO_ASAN     the plugin was built with AddressSanitizer
PYTHON_OF_UWSGI  the Python that uWSGI's python plugin runs, where it is not the distribution's
TORNADO_OPTIONS  more options for every server with the engine, before the test's own
"""
import contextlib
import http.client
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
import websocket

from native import bound, canaries, grpc_server, slapd, zmq_server  # Fixtures, for every test.
from services import free_port, mariadb, memcached, nginx, postgres, redis_server
from upstreams import certificate, held_line, loop_thread, mail_server, pages, slow_memcached, slow_names, tls_upstream, upstream

ROOT = pathlib.Path(__file__).resolve().parents[2]
APPS = ROOT / 'tests' / 'apps'
START_S = 60
STOP_S = 60

PLUGIN = os.environ.get('TORNADO_PLUGIN', str(ROOT / 'build' / 'tornado_plugin.so'))
# What uWSGI's own python plugin is called or where it is.
PYTHON_PLUGIN = os.environ.get('UWSGI_PYTHON_PLUGIN', 'python3')
OTHER_PYTHON = os.environ.get('PYTHON_OF_UWSGI')
EMBEDDED = os.environ.get('UWSGI_EMBEDDED')
ASAN = bool(os.environ.get('TORNADO_ASAN'))
MORE_OPTIONS = os.environ.get('TORNADO_OPTIONS', '').split()

# Where a shell started this in the background SIGINT is ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def python_version():
    """Of the Python that uWSGI runs, as in (3, 11)."""
    code = 'import sys; print(*sys.version_info[:2])'
    return tuple(map(int, subprocess.check_output([OTHER_PYTHON or '/usr/bin/python3', '-c', code]).split()))


def asan_environment():
    libraries = [
        subprocess.check_output(['gcc', '-print-file-name=' + name], text=True).strip()
        for name in ('libasan.so', 'libubsan.so', 'libstdc++.so')
    ]
    return {
        'LD_PRELOAD': ' '.join(libraries),
        # CPython and uWSGI keep what they allocate; only our own errors are looked for.
        'ASAN_OPTIONS': f'detect_leaks=0:abort_on_error=1:handle_segv=1:allocator_may_return_null=1:suppressions={ROOT}/tests/server/asan_suppressions.txt',
        'UBSAN_OPTIONS': 'print_stacktrace=1',
    }


def command(*options):
    """A uwsgi command line with the engine's plugin; the options are the test's."""
    if EMBEDDED:
        return [EMBEDDED, *options]
    return ['uwsgi', '--plugin', PYTHON_PLUGIN, '--plugin', PLUGIN, *options]


def plugins(*names):
    """Options that load more of uWSGI's plugins: Debian has them as files; the embedded binary has them inside."""
    return [] if EMBEDDED else [word for name in names for word in ('--plugin', name)]


class Server:
    """One running uwsgi, its ports and its log."""

    ready = 'tornado: [0-9]+ cores on fibers'
    sanitized = ASAN

    def __init__(self, folder, app, options, protocol, cores, environ, launcher=(), pass_fds=()):
        self.port = free_port()
        self.log_path = folder / f'uwsgi-{self.port}.log'
        environment = {**os.environ, 'PYTHONUNBUFFERED': '1', **environ}
        if self.sanitized:
            environment.update(asan_environment())
        arguments = self.command(
            cores, f'--{protocol}', f'127.0.0.1:{self.port}',
            *(['--pythonpath', str(APPS), '--wsgi-file', str(APPS / app)] if app else []), *options)
        self.has_master = '--master' in options
        if self.has_master:  # Its SIGHUP starts all anew; this signal drains and ends it.
            arguments += ['--hook-master-start', 'unix_signal:15 gracefully_kill_them_all']
        with open(self.log_path, 'wb') as log:
            self.process = subprocess.Popen(
                [*launcher, *arguments], stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder, pass_fds=pass_fds)
        self.wait_until_ready()

    def wait_until_ready(self):
        """One that does not get so far, which nobody else knows, is not left behind."""
        try:
            self.wait_for_log(self.ready)
        except BaseException:
            workers = self.children()
            self.kill()
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise

    def command(self, cores, *options):
        return command('--tornado', str(cores), *MORE_OPTIONS, *options)

    @property
    def log(self):
        return self.log_path.read_text(errors='replace')

    def wait_for_log(self, pattern, timeout_s=START_S, count=1):
        """Waits until the log has `count` lines that match, or fails with the log."""
        deadline = time.monotonic() + timeout_s
        while len(re.findall(pattern, self.log)) < count:
            if self.process.poll() is not None and len(re.findall(pattern, self.log)) < count:
                pytest.fail(f'uwsgi ended with {self.process.returncode}:\n{self.log}')
            if time.monotonic() > deadline:
                pytest.fail(f'no {pattern!r} in the log:\n{self.log}')
            time.sleep(0.01)  # A poll of the condition above, not a guess at its time.

    def connect(self, timeout_s=30):
        return socket.create_connection(('127.0.0.1', self.port), timeout=timeout_s)

    def get(self, path='/', method='GET', body=None, headers=None, timeout_s=30):
        """One request on a connection of its own: (status, headers, body)."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout_s)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def get_all(self, paths, timeout_s=60):
        """One thread and connection for each path, started together: (results, seconds)."""
        results = [None] * len(paths)
        barrier = threading.Barrier(len(paths) + 1)

        def fetch(index):
            barrier.wait()
            try:
                results[index] = self.get(paths[index], timeout_s=timeout_s)
            except Exception as error:  # The caller compares; an exception is a wrong answer.
                results[index] = error

        threads = [threading.Thread(target=fetch, args=(i,), daemon=True) for i in range(len(paths))]
        for thread in threads:
            thread.start()
        barrier.wait()
        started = time.monotonic()
        for thread in threads:
            thread.join(timeout_s + 10)
        return results, time.monotonic() - started

    def worker_pids(self):
        if not self.has_master:
            return [self.process.pid]
        return [int(pid) for pid in re.findall(r'pawned uWSGI worker \d+ \(.*?pid: (\d+)', self.log)
                if pathlib.Path(f'/proc/{pid}').exists()]

    def cpu_s(self):
        """CPU time, user and system, that the workers have used."""
        ticks = 0
        for pid in self.worker_pids():
            fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf('SC_CLK_TCK')

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def open_files(self):
        """What its descriptors are: {7: 'socket:[1234]'}."""
        folder = pathlib.Path(f'/proc/{self.process.pid}/fd')
        found = {}
        for link in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # Closed meanwhile.
                found[int(link.name)] = os.readlink(link)
        return found

    def drain(self):
        """Asks the worker, or the master for all, to end as a reload does; returns the exit code."""
        self.process.send_signal(signal.SIGTERM if self.has_master else signal.SIGHUP)
        return self.process.wait(STOP_S)

    def children(self):
        listed = pathlib.Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children')
        return [int(pid) for pid in listed.read_text().split()] if self.process.poll() is None else []

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(STOP_S)


def ask(connection, path):
    """One request on a connection that is kept alive: (status, body)."""
    connection.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
    with http.client.HTTPResponse(connection) as response:
        response.begin()
        return response.status, response.read()


def websocket_to(port, path='/', scheme='ws', timeout=30, **more):
    """A client of the websocket at that path; closed by `with`."""
    return contextlib.closing(websocket.create_connection(
        f'{scheme}://127.0.0.1:{port}{path}', timeout=timeout, sslopt={'cert_reqs': ssl.CERT_NONE}, **more))


class ThreadedServer(Server):
    """The same app on OS threads, without the engine: the reference for its answers."""

    ready = 'spawned uWSGI worker 1 '
    sanitized = False

    def command(self, cores, *options):
        plain = [EMBEDDED] if EMBEDDED else ['uwsgi', '--plugin', PYTHON_PLUGIN]
        return [*plain, '--threads', str(cores), '--single-interpreter', '--die-on-term', *options]


@pytest.fixture
def threaded_server(tmp_path):
    """Starts servers: threaded_server('app.py', *uwsgi_options, environ=...)."""
    started = []

    def start(app, *options, threads=8, environ=None):
        started.append(ThreadedServer(tmp_path, app, options, 'http-socket', threads, environ or {}))
        return started[-1]

    yield start
    for running in started:
        running.process.terminate()
        try:
            running.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            running.kill()


@pytest.fixture
def server(tmp_path):
    """Starts servers: server('app.py', *uwsgi_options, cores=50, protocol='http-socket').

    `launcher` is a command that runs the one given to it, in its own place; it has the descriptors `pass_fds`.
    At the end of the test each is drained, and must end by itself with nothing leaked and
    nothing said by a sanitizer. A test that ends its server itself calls server.kill().
    """
    started = []

    def start(app, *options, cores=50, protocol='http-socket', environ=None, launcher=(), pass_fds=()):
        running = Server(tmp_path, app, options, protocol, cores, environ or {}, launcher, pass_fds)
        started.append(running)
        return running

    yield start
    problems = [problem for running in started for problem in end(running)]
    assert not problems, '\n'.join(problems)


def end(running):
    """Drains a server; what was wrong with its end or in its log, and the log then."""
    problems = []
    # Without a master the other workers outlive the first, whose drain says nothing to them.
    workers = [] if running.has_master else running.children()
    if running.process.poll() is None:
        try:
            running.drain()
        except subprocess.TimeoutExpired:
            problems.append(f'did not drain in {STOP_S} s')
            running.kill()
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for sign in ('LEAK', 'ERROR: AddressSanitizer', 'runtime error:', 'Assertion', 'SIGSEGV', 'Segmentation Fault'):
        if sign in running.log:
            problems.append(f'{sign!r} in the log')
    return [*problems, running.log] if problems else []
