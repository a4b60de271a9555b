"""The servers of the README's comparison, each with one worker and tests/apps/compared.py."""
import http.client
import os
import re
import select
import signal
import subprocess

import conftest
import websocket
from conftest import APPS, free_port, websocket_to
from services import accepts, wait_until

LIMIT_S = 60
ENGINE = ['--master', '--single-interpreter', '--enable-threads', '--need-app', '--wsgi-file', str(APPS / 'compared.py')]
GREENLETS = ['--plugin', 'greenlet_python3', '--greenlet']
COMMANDS = {
    'uwsgi-tornado': lambda port: [*conftest.command('--tornado', '20', '--tornado-client-disconnect', '--master'),
                                   '--wsgi-file', str(APPS / 'compared.py'), '--http-socket', f'127.0.0.1:{port}'],
    'uWSGI gevent': lambda port: ['uwsgi', '--plugin', 'python3,gevent_python3', *ENGINE, '--gevent', '20', '--http-socket', f'127.0.0.1:{port}'],
    'uWSGI asyncio': lambda port: ['uwsgi', '--plugin', 'python3,asyncio_python3', *GREENLETS, *ENGINE, '--asyncio', '20', '--http-socket', f'127.0.0.1:{port}'],
    'uWSGI tornado': lambda port: ['uwsgi', '--plugin', 'python3,tornado_python3', *GREENLETS, *ENGINE, '--tornado', '20', '--http-socket', f'127.0.0.1:{port}'],
    'gunicorn gevent': lambda port: ['gunicorn', '--worker-class', 'gevent', '--workers', '1', '--bind', f'127.0.0.1:{port}', 'compared:application'],
    'uvicorn, WSGI': lambda port: ['uvicorn', '--interface', 'wsgi', '--host', '127.0.0.1', '--port', str(port), 'compared:application'],
    'uvicorn, ASGI': lambda port: ['uvicorn', '--host', '127.0.0.1', '--port', str(port), 'compared_asgi:application'],
}


class Peer:
    def __init__(self, name, folder, environ):
        self.name, self.port, self.rounds = name, free_port(), 10
        self.log_path = folder / re.sub(r'\W+', '-', name)
        self.may_end = folder / (self.log_path.name + '-may-end')
        command = COMMANDS[name](self.port)
        ours = conftest.asan_environment() if conftest.ASAN and name == 'uwsgi-tornado' else {}
        with open(self.log_path, 'wb') as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=APPS, start_new_session=True,
                                            env={**os.environ, 'PYTHONDONTWRITEBYTECODE': '1', 'COMPARED': name, 'COMPARED_MAY_END': str(self.may_end), **environ, **ours})

    @property
    def log(self):
        return self.log_path.read_text(errors='replace')

    def wait_until_it_serves(self):
        try:
            wait_until(lambda: accepts(self.port) and self.get('/patched'), self.name, self.process)
        except RuntimeError as error:
            raise AssertionError(f'{error}\n{self.log}') from None

    def wait_for_log(self, pattern, count):
        wait_until(lambda: len(re.findall(pattern, self.log)) >= count, f'{self.name}: {pattern}', self.process)

    def kill(self):
        """With the workers below it: they are of its session."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def send(self, path):
        """A request that is on its way; its connection. It waits so many times a twentieth of a second, where it waits."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=LIMIT_S)
        connection.request('GET', f'{path}?{self.rounds}')
        return connection

    @staticmethod
    def answer(connection):
        """The body, '' for none or an error."""
        try:
            response = connection.getresponse()
            body = response.read().decode()
            return body if response.status == 200 else ''
        except (OSError, http.client.HTTPException):
            return ''
        finally:
            connection.close()

    def get(self, path):
        return self.answer(self.send(path))

    def both(self, path):
        """Two at once."""
        return [self.answer(connection) for connection in [self.send(path), self.send(path)]]

    # --- What the comparison asks; each is True or False ---

    def serves(self, application):
        """Whether the same server, started with that application instead, answers."""
        port = free_port()
        command = COMMANDS[self.name](port)
        if '--wsgi-file' in command:
            place = command.index('--wsgi-file')
            command[place:place + 2] = ['--module', application]
        else:
            command[-1] = application
        with open(f'{self.log_path}-serves', 'wb') as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=APPS, start_new_session=True)
        try:
            wait_until(lambda: process.poll() is not None or accepts(port), self.name)
            connection = http.client.HTTPConnection('127.0.0.1', port, timeout=LIMIT_S)
            connection.request('GET', '/')
            return self.answer(connection) != ''
        except OSError:
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def meets(self, path):
        """Whether one of two requests saw the other run while it did; an error is a no."""
        answers = self.both(path)
        return 'yes' in answers and '' not in answers

    def keeps(self, path):
        return self.both(path) == ['yes', 'yes']

    def is_so(self, path):
        return self.get(path) == 'yes'

    def ends_waits(self, path):
        """An application may answer that it was ended; here the server answers 504."""
        connection = self.send(path)
        response = connection.getresponse()
        return response.status == 504 or response.read() == b'yes'

    def tells_who_left(self, path):
        before = self.log.count('leaves: begun')
        connection = self.send(path)
        self.wait_for_log('leaves: begun', before + 1)
        connection.close()
        self.wait_for_log('leaves: (?:not )?told', before + 1)
        return re.findall('leaves: .*', self.log)[-1].startswith('leaves: told')

    def echoes(self, path):
        try:
            with websocket_to(self.port, path, timeout=LIMIT_S) as client:
                client.send('message')
                return client.recv() in ('message', b'message')
        except websocket.WebSocketBadStatusException:
            return False

    def survives_reload(self, path):
        """A worker that does not drain cuts its connections soon; one that does would wait for ever."""
        self.may_end.unlink(missing_ok=True)
        self.wait_until_it_serves()
        before = self.log.count('survives: begun')
        connection = self.send(path)
        self.wait_for_log('survives: begun', before + 1)
        self.process.send_signal(signal.SIGHUP)
        select.select([connection.sock], [], [], self.rounds * 0.15)
        self.may_end.touch()
        return self.answer(connection) == 'yes'
