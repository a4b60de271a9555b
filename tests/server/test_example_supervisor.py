"""examples/supervisor: a real supervisord starts, reloads and stops the application."""
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import tempfile

import pytest

from conftest import free_port
from deployed import EXAMPLES, UWSGI, Program, deployed, in_flight, uwsgi_command
from steady_load import SteadyLoad

MAIN_CONF = '''
[supervisord]
nodaemon = true
logfile = {folder}/supervisord.log
pidfile = {folder}/supervisord.pid
childlogdir = {folder}
[unix_http_server]
file = {folder}/control
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://{folder}/control
[include]
files = {folder}/app.conf
'''


class Supervisor(Program):
    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.app_log = folder / 'app.log'
        deployed('supervisor', folder, {UWSGI: uwsgi_command(), 'directory = /srv/app': f'directory = {folder}', '/srv/app': folder,
                                        '127.0.0.1:9090': f'127.0.0.1:{self.port}', '/var/log/supervisor': folder,
                                        'user = www-data': f'user = {os.geteuid()}'})
        with open(folder / 'uwsgi.ini', 'a') as file:
            file.write('hook-master-start = print:uWSGI hears signals\n')
        (folder / 'main.conf').write_text(MAIN_CONF.format(folder=folder))
        super().__init__(folder, '/usr/bin/supervisord', '-c', str(folder / 'main.conf'))

    def control(self, *words):
        return subprocess.run(['/usr/bin/supervisorctl', '-c', str(self.folder / 'main.conf'), *words], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120).stdout

    def wait_for_uwsgi(self, starts=1):
        self.wait_for_log(r'\(master-start\)', self.app_log, starts)

    def status(self):
        return self.control('status', 'app').split()[1]

    def pid(self):
        return int(self.control('pid', 'app'))


@pytest.fixture
def supervisor():
    with tempfile.TemporaryDirectory() as folder:
        running = Supervisor(pathlib.Path(folder))
        yield running
        assert running.stop() == 0
        assert 'LEAK' not in running.app_log.read_text()


def number(pattern, file):
    return int(re.search(pattern, (EXAMPLES / 'supervisor' / file).read_text(), re.MULTILINE)[1])


def test_supervisor_waits_for_longer_than_requests_have():
    mercy = number('^worker-reload-mercy = (.*)', 'uwsgi.ini')
    assert number('^stopwaitsecs = (.*)', 'app.conf') >= mercy + 10
    assert mercy > number('^tornado-request-timeout = (.*)', 'uwsgi.ini')


@pytest.mark.smoke
def test_supervisor_starts_reloads_and_stops_it_without_loss(supervisor):
    running = supervisor
    running.wait_for_uwsgi()
    pid = running.pid()
    with SteadyLoad(running.port, '/', clients=10) as load:
        load.wait_for_answers(20)
        with in_flight(running.port):
            assert running.control('signal', 'HUP', 'app').split() == ['app:', 'signalled']
            running.wait_for_log('racefully killing worker 1', running.app_log)
        running.wait_for_uwsgi(starts=2)
        load.wait_for_answers(20)
    assert len(load.pids) >= 2 and running.pid() == pid
    with concurrent.futures.ThreadPoolExecutor(1) as pool, in_flight(running.port):
        stopped = pool.submit(running.control, 'stop', 'app')
        running.wait_for_log('was told to end', running.app_log)
        assert not stopped.done()
    assert stopped.result(60).split() == ['app:', 'stopped']
    assert running.status() == 'STOPPED'
    assert 'goodbye to uWSGI.' in running.app_log.read_text()  # By itself: supervisor had not to kill it.


def test_supervisor_starts_it_again_when_it_is_killed(supervisor):
    """Its workers, which have the socket, end with their master."""
    running = supervisor
    running.wait_for_uwsgi()
    os.kill(running.pid(), signal.SIGKILL)
    running.wait_for_uwsgi(starts=2)
    with SteadyLoad(running.port, '/', clients=5) as load:
        load.wait_for_answers(20)
