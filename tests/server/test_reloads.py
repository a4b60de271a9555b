"""Reloads that others cause, and processes beside the workers: no request in flight is lost."""
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from conftest import APPS, ASAN, START_S, asan_environment, command, free_port
from health import closed_by_server

READY = 'tornado: [0-9]+ cores on fibers'
REQUESTS = 50


@pytest.fixture
def start(server, tmp_path):
    module = tmp_path / 'changing.py'
    module.write_text("TEXT = 'first'\n")
    return lambda *options: server('reloaded.py', '--master', '--pythonpath', str(tmp_path), *options, cores=REQUESTS + 25,
                                   environ={'PYTHONDONTWRITEBYTECODE': '1'})


def make_newer(file):
    """uWSGI looks at whole seconds."""
    seconds = file.stat().st_mtime + 10
    os.utime(file, (seconds, seconds))


def assert_reloads(running, folder, file, text):
    """Requests that wait end on the old workers, those that come meanwhile are served by the new ones."""
    old = {pid.encode() for pid in map(str, running.worker_pids())}
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(running.connect()) for _ in range(REQUESTS)]
        for client in held:
            client.sendall(b'GET /?hold HTTP/1.0\r\n\r\n')
        running.get_all(['/'] * 20)  # Accepted after them.
        deadline = time.monotonic() + 30
        while 'Gracefully killing worker' not in running.log and time.monotonic() < deadline:
            make_newer(file)  # Again and again: what uWSGI sees first is what it compares with.
            time.sleep(0.05)
        running.wait_for_log('Gracefully killing worker', count=len(old))  # One that has not been told yet accepts.
        later = [stack.enter_context(running.connect()) for _ in range(20)]
        for client in later:
            client.sendall(b'GET / HTTP/1.0\r\n\r\n')
        (folder / 'release').touch()
        running.wait_for_log(READY, count=2)
        assert {closed_by_server(client).split()[-2] for client in held} <= old
        for client in later:
            pid, said = closed_by_server(client).split()[-2:]
            assert (said, pid in old) == (text, False)


@pytest.mark.smoke
@pytest.mark.parametrize('options', [['--lazy-apps'], ['--processes', '2', '--lazy-apps']], ids=' '.join)
def test_py_autoreload(start, tmp_path, options):
    running = start('--py-autoreload', '1', *options)
    module = tmp_path / 'changing.py'
    module.write_text("TEXT = 'second'\n")
    assert_reloads(running, tmp_path, module, b'second')


@pytest.mark.parametrize('option', ['--touch-reload', '--touch-workers-reload'])
def test_touch_reload(start, tmp_path, option):
    touched = tmp_path / 'touched'
    touched.touch()
    assert_reloads(start(option, str(touched), '--lazy-apps'), tmp_path, touched, b'first')


DAEMON = 'import os, signal, time; print("daemon", os.getpid(), flush=True); time.sleep(1000)'


def test_attached_daemon_runs_beside_and_ends_with_it(start, tmp_path):
    running = start(f'--attach-daemon=/usr/bin/python3 -c \'{DAEMON}\'')
    running.wait_for_log(r'daemon \d+')
    daemon = int(running.log.split('\ndaemon ')[1].split()[0])
    results, _ = running.get_all(['/'] * REQUESTS)
    assert all(status == 200 for status, _, _ in results)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_log(READY, count=2)
    running.wait_for_log(r'\ndaemon \d+', count=2)
    assert running.get()[0] == 200
    running.drain()
    assert not pathlib.Path(f'/proc/{daemon}').exists()


class Emperor:
    """Of its own: it has no engine, its vassals do."""

    def __init__(self, folder):
        self.log = folder / 'emperor.log'
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen([command()[0], '--emperor', str(folder / 'vassals'), '--die-on-term',
                                             '--emperor-freq', '1'], stdout=log, stderr=subprocess.STDOUT, cwd=folder,
                                            env={**os.environ, **(asan_environment() if ASAN else {})})


@pytest.fixture
def emperor(tmp_path):
    (tmp_path / 'vassals').mkdir()
    started = Emperor(tmp_path)
    yield started
    started.process.terminate()
    started.process.wait(60)
    assert 'LEAK' not in started.log.read_text()


def ask(port):
    """The answer of the vassal; None when nobody listens, or leaves the connection."""
    try:
        with socket.create_connection(('127.0.0.1', port), timeout=30) as client:
            client.sendall(b'GET / HTTP/1.0\r\n\r\n')
            return closed_by_server(client).split()[-1]
    except (OSError, IndexError):
        return None


def wait_for(port, emperor, answer):
    """Until the vassal answers so."""
    deadline = time.monotonic() + START_S
    while (got := ask(port)) != answer:
        if emperor.process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f'{got}\n{emperor.log.read_text()}')
        time.sleep(0.05)


def vassal(folder, port, text):
    (folder / text).mkdir()
    (folder / text / 'changing.py').write_text(f'TEXT = {text!r}\n')
    options = command()[1:]
    plugins = ''.join(f'plugin = {name}\n' for name in options[1::2])
    return (f'[uwsgi]\n{plugins}tornado = {REQUESTS + 25}\nmaster = true\nhttp-socket = 127.0.0.1:{port}\n'
            f'pythonpath = {folder / text}\nwsgi-file = {APPS / "reloaded.py"}\nneed-app = true\n')


def test_emperor_has_vassals_with_the_engine(emperor, tmp_path):
    """Two of them; one is changed, and reloads; then it is taken away."""
    one, two = free_port(), free_port()
    files = [tmp_path / 'vassals' / name for name in ('one.ini', 'two.ini')]
    files[0].write_text(vassal(tmp_path, one, 'alpha'))
    files[1].write_text(vassal(tmp_path, two, 'beta'))
    wait_for(one, emperor, b'alpha')
    wait_for(two, emperor, b'beta')
    files[0].write_text(vassal(tmp_path, one, 'gamma'))
    make_newer(files[0])
    wait_for(one, emperor, b'gamma')
    files[1].unlink()
    wait_for(two, emperor, None)
    wait_for(one, emperor, b'gamma')
