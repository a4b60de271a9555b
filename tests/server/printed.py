"""The commands that documents print, and a folder in which they run as they stand there.

Only ports are others, those that are free. `uwsgi` is a script that finds the plugin under test.
"""
import contextlib
import http.client
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import textwrap
import time

import conftest
from conftest import ROOT, Server, free_port
from deployed import sanitized

DOCUMENTS = [ROOT / 'README.md', ROOT / 'bench' / 'README.md', *sorted(ROOT.glob('docs/**/*.md')), *sorted(ROOT.glob('examples/**/README.md'))]
LANGUAGES = {'sh', 'python', '', 'ini', 'nginx', 'systemd', 'text', 'html', 'js', 'json', 'yaml'}
# What an indented block shows when it is no command: a line of the log, of a header, of a configuration.
SHOWN = re.compile(r'[\w-]+(:| =) ')
LOGS_ONLY = 'troubleshooting.md'  # All its indented blocks are the log's; tests/loop/test_documents.py reads those.
PORT = re.compile(r'(?<=:)\d{4,5}\b')
PORT_IN_CODE = re.compile(r'(?<=127\.0\.0\.1:)\d{4,5}\b')
HTTP = re.compile(r'\bhttp(?:11)?(?:-socket)?\s*[= ]\s*[\w.]*:(\d+)')
LIMIT_S = 120


class Block:
    """A block of code: its language, None where it is indented, and its text."""

    def __init__(self, language, lines, number):
        self.language, self.text, self.number = language, textwrap.dedent('\n'.join(lines)), number


def blocks(path):
    found, lines, language, fenced = [], [], None, False
    began, before = 0, ''
    for number, line in enumerate([*path.read_text().splitlines(), ''], 1):
        fence = re.match(r'```(\w*)', line)
        if fence:
            if fenced:
                found.append(Block(language, lines, began))
            fenced, language, lines, began = not fenced, fence[1], [], number + 1
        elif fenced:
            lines.append(line)
        elif line.startswith('    ') and (lines or not before.strip()):
            began = began if lines else number
            lines.append(line[4:])
        elif lines:
            found.append(Block(None, lines, began))
            lines = []
        before = line
    return found


def commands(path):
    """(number of the line, command) for each that the document prints."""
    found = []
    for block in blocks(path):
        assert block.language is None or block.language in LANGUAGES, f'{path}:{block.number}: a block in {block.language!r}'
        shown = block.language is None and (SHOWN.match(block.text) or path.name == LOGS_ONLY)
        if block.language == 'sh' or (block.language is None and not shown):
            joined = block.text.replace('\\\n', ' ')
            found += [(block.number, line.strip()) for line in joined.splitlines() if line.strip() and not line.strip().startswith('#')]
        elif block.language == '':
            assert not re.search(r'^(\$ |uwsgi |curl |make )', block.text, re.M), f'{path}:{block.number}: commands want ```sh'
    return found


def words(command):
    """Without the comment, and the variables and `sudo` before the program's name."""
    split = shlex.split(command, comments=True)
    while split and re.match(r'\w+=|sudo$', split[0]):
        del split[0]
    return split


def end_group(client):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    client.stdout.close()


class Printed(Server):
    """A server that a printed command started."""

    def __init__(self, command, folder, environ, ports):
        self.ports, self.port, self.asked = ports, ports[0], False
        self.log_path = folder / f'log-{ports[0]}'
        with open(self.log_path, 'wb') as log:
            self.process = subprocess.Popen(['bash', '-c', 'exec ' + command], cwd=folder, env=environ, stdout=log, stderr=subprocess.STDOUT)
        self.wait_until_ready()
        self.has_master = 'spawned uWSGI master process' in self.log

    def drain(self):
        self.process.send_signal(signal.SIGINT if self.has_master else signal.SIGHUP)
        return self.process.wait(conftest.STOP_S)


class Checkout:
    """A folder with what the commands name: examples, tools, the built plugin, an app.py, an ASGI main.py."""

    def __init__(self, folder, environ):
        self.folder, self.ports, self.servers, self.streams, self.said = folder, {}, [], [], []
        for name in ('examples', 'tools'):
            shutil.copytree(ROOT / name, folder / name)
        shutil.copy(ROOT / 'examples' / 'hello' / 'app.py', folder)
        shutil.copy(ROOT / 'examples' / 'starlette_websockets' / 'app.py', folder / 'main.py')
        (folder / 'README.md').write_text('A file to send.\n')
        for name in ('.', 'build', 'plugins'):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / 'tornado_plugin.so').symlink_to(conftest.PLUGIN)
        self.make_scripts()
        self.environ = {**os.environ, 'PYTHONUNBUFFERED': '1', 'PATH': f'{folder}/bin:{os.environ["PATH"]}', 'CURL_HOME': str(folder), **environ}

    def make_scripts(self):
        start = 'exec ' + shlex.join([*sanitized(), shutil.which('uwsgi'), '--plugins-dir', f'{self.folder}/plugins'])
        more = shlex.join(conftest.MORE_OPTIONS)
        self.script('bin/uwsgi', f'{start} "$@" {more}')
        self.script('build/embed/uwsgi', f'{start} --plugin python3,tornado "$@" {more}')
        self.script('bin/python3', f'exec {conftest.OTHER_PYTHON or "/usr/bin/python3"} "$@"')
        self.script('bin/xdg-open', 'exec curl -o /dev/null "$1"')
        # An answer that is an error fails the command.
        (self.folder / '.curlrc').write_text(f'fail\nfail-early\nsilent\nshow-error\nmax-time = {LIMIT_S}\n')

    def script(self, name, text):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(0o755)

    def with_own_ports(self, text, pattern=PORT):
        return pattern.sub(lambda match: str(self.ports.setdefault(match[0], free_port())), text)

    def serve(self, command):
        """Starts what the command starts, in place of what was on its port."""
        files = [self.folder / word for word in words(command) if word.endswith('.ini') or word.startswith('tools/')]
        listens = HTTP.findall(' '.join([command, *(file.read_text() for file in files)]))
        assert listens, f'{command!r} serves no HTTP: which test runs it?'
        for file in files:
            file.write_text(self.with_own_ports(file.read_text()))
            for code in file.parent.rglob('*.py'):
                code.write_text(self.with_own_ports(code.read_text(), PORT_IN_CODE))
        own = [int(self.with_own_ports(':' + port)[1:]) for port in listens]
        for before in [server for server in self.servers if set(server.ports) & set(own)]:
            self.servers.remove(before)
            yield from self.end_of(before)
        self.servers.append(Printed(self.with_own_ports(command), self.folder, self.environ, own))

    def run(self, command):
        """Runs a client to its end; one that may never end (curl -N) goes on beside the next."""
        for server in self.servers:
            server.asked = True
        client = subprocess.Popen(['bash', '-c', 'set -o pipefail; ' + self.with_own_ports(command)], cwd=self.folder, env=self.environ,
                                  start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if ' -N ' in command:
            self.streams.append(client)
            return
        try:
            said, _ = client.communicate(timeout=LIMIT_S)
            assert client.returncode == 0, f'{command}: {said}\n' + '\n'.join(server.log for server in self.servers)
        finally:
            end_group(client)
        self.said.append(command)

    def hear_streams(self):
        """Until each has said something. It may have come too late for what the others said: they say it again."""
        deadline = time.monotonic() + LIMIT_S
        for stream in self.streams:
            while not select.select([stream.stdout], [], [], 1)[0]:
                assert time.monotonic() < deadline, 'a stream says nothing\n' + '\n'.join(server.log for server in self.servers)
                for command in self.said[:]:
                    self.run(command)
            assert stream.stdout.readline()

    def end_of(self, server):
        """What was wrong with it; it has answered, if to nobody else, to a request for / (also where it has no such page)."""
        said = 200
        try:
            if not server.asked:
                said = server.get('/')[0]
        except (OSError, http.client.HTTPException) as error:  # The other servers want their end, too.
            said = error
        problems = conftest.end(server)
        return problems if said in (200, 404) else [f'/ was answered {said!r}', server.log]

    def end(self):
        for stream in self.streams:
            end_group(stream)
        return [problem for server in self.servers for problem in self.end_of(server)]
