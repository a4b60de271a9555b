"""ASGI's lifespan: startup before the first request, shutdown after the last."""
import subprocess

import pytest

from conftest import APPS, command, free_port
from deployed import sanitized


def said(running):
    return [line.removeprefix('LIFESPAN ') for line in running.log.splitlines() if line.startswith('LIFESPAN ')]


@pytest.fixture
def start(server):
    def start(kind='', *options):
        return server('asgi_lifespan.py', *options, environ={'LIFESPAN': kind})
    return start


@pytest.mark.smoke
def test_startup_comes_first_and_shutdown_last(start):
    running = start()
    assert said(running) == ['first started']
    assert [running.get()[2] for _ in range(2)] == [b'first 1 1', b'first 1 2']  # The state is copied, not what is in it.
    with running.connect() as connection:
        connection.sendall(b'GET /slow HTTP/1.1\r\nHost: x\r\n\r\n')
        running.get()  # Accepted after it.
        running.drain()
        assert connection.recv(100).startswith(b'HTTP/1.1 200')
    assert said(running) == ['first started', 'slow request ended', 'first ended']


def test_each_mounted_application_has_its_own(server):
    running = server(None, '--pythonpath', str(APPS), '--mount', '/=asgi_lifespan:application', '--mount',
                     '/two=asgi_lifespan:second', '--manage-script-name')
    assert [running.get(path)[2] for path in ('/', '/two', '/')] == [b'first 1 1', b'second 1 1', b'first 1 2']
    running.drain()
    assert sorted(said(running)) == ['first ended', 'first started', 'second ended', 'second started']


def test_every_worker_has_its_own(start):
    running = start('', '--master', '--processes', '2')
    running.wait_for_log('LIFESPAN first started', count=2)
    running.drain()
    assert said(running).count('first ended') == 2


@pytest.mark.parametrize('options', [[], ['--master'], ['--master', '--lazy-apps'], ['--master', '--processes', '2']])
def test_failed_startup_ends_uwsgi(options, tmp_path, monkeypatch):
    monkeypatch.setenv('LIFESPAN', 'fails')
    ended = subprocess.run(
        [*sanitized(), *command('--tornado', '4', '--http-socket', f'127.0.0.1:{free_port()}',
                                '--wsgi-file', str(APPS / 'asgi_lifespan.py'), *options)],
        capture_output=True, timeout=60)
    log = (ended.stdout + ended.stderr).decode()
    assert "tornado: the application of mount point '' does not start: no database" in log
    assert log.count('does not start') == 1
    assert ended.returncode != 0


def test_application_without_a_lifespan_is_served(start):
    running = start('raises')
    assert running.get()[2] == b'None 1 0'
    assert 'is served without a lifespan: ValueError: unknown to it' in running.log
    assert 'Traceback' not in running.log


@pytest.mark.parametrize('kind, text', [('shutdown fails', 'its shutdown has failed: no end'),
                                        ('shutdown raises', 'ValueError: within the shutdown')])
def test_failed_shutdown_is_logged(start, kind, text):
    running = start(kind)
    running.drain()
    assert text in running.log


def test_shutdown_has_the_mercy_and_no_more(start):
    running = start('shutdown hangs', '--worker-reload-mercy', '2')
    running.drain()
    assert 'first ended' not in said(running)
