"""The files of an example as they are installed: in a folder of their own, with other names for what a machine has once."""
import contextlib
import os
import re
import shlex
import socket
import subprocess
import time

import pytest

from clients import body_of
from conftest import ASAN, ROOT, START_S, STOP_S, asan_environment, command
from crowd import backlog
from health import closed_by_server

EXAMPLES = ROOT / 'examples'
UWSGI = '/usr/bin/uwsgi --plugin python3,tornado'  # As the examples name it, once the plugin is installed.


def deployed(name, folder, others):
    """Copies the configuration of examples/NAME into the folder. `others`: what stands there, and what is put for it."""
    changes = [('%d../../', f'{EXAMPLES}/'), ('%d../', f'{EXAMPLES}/'), ('listen = 1024', f'listen = {backlog(1024)}'),
               *others.items()]
    used = set()
    for file in sorted((EXAMPLES / name).rglob('*')):
        if file.suffix in ('.py', '.md') or not file.is_file():
            continue
        text = file.read_text()
        for old, new in changes:
            if old in text:
                used.add(old)
                text = text.replace(old, str(new))
        target = folder / file.relative_to(EXAMPLES / name)
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
    assert set(others) <= used, 'the example no longer says so'
    return folder


def uwsgi_command():
    """Instead of UWSGI: with the plugins of these tests, or the program that has them inside."""
    return shlex.join([*sanitized(), *command()])


def sanitized():
    """What stands before a command, so that it may load the plugin."""
    return ['/usr/bin/env', *(f'{name}={value}' for name, value in asan_environment().items())] if ASAN else []


class Program:
    """A program that starts uWSGI, and its log."""

    def __init__(self, folder, *arguments):
        self.log_path = folder / 'program.log'
        with open(self.log_path, 'wb') as log:
            self.process = subprocess.Popen(['setpriv', '--pdeathsig', 'TERM', *arguments], stdout=log, stderr=subprocess.STDOUT,
                                            stdin=subprocess.DEVNULL, cwd=folder, env={**os.environ, 'UPLOADS': str(folder)})

    def log(self):
        return self.log_path.read_text(errors='replace')

    def wait_for_log(self, pattern, path=None, count=1):
        """In its own log, or another's that it starts."""
        deadline = time.monotonic() + START_S
        while len(re.findall(pattern, read(path or self.log_path))) < count:
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f'no {pattern!r} in the log:\n{without_requests(read(path or self.log_path))}')
            time.sleep(0.01)  # A poll of the condition above, not a guess at its time.

    def stop(self):
        """It ends what it has started, too."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(STOP_S)


def read(path):
    return path.read_text(errors='replace') if path.exists() else ''


def without_requests(log):
    return '\n'.join(line for line in log.splitlines() if ' "GET / ' not in line)


@contextlib.contextmanager
def in_flight(port, size=16 * 1024 * 1024):
    """A download of examples/transfers that has begun; after the block it must be there as a whole."""
    with socket.socket() as client:
        client.settimeout(60)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # The kernel takes but a part.
        client.connect(('127.0.0.1', port))
        client.sendall(b'GET /generated?%d HTTP/1.0\r\n\r\n' % size)
        assert client.recv(15).startswith(b'HTTP/1.')
        yield
        assert len(body_of(closed_by_server(client))) == size
