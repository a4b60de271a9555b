"""examples/systemd: the units are right, and what they have systemd do is done, where systemd is not there to do it."""
import contextlib
import os
import pathlib
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

import pytest

from clients import body_of
from conftest import ASAN, ROOT, free_port
from deployed import UWSGI, in_flight
from health import closed_by_server
from overlap import wait_until
from steady_load import SteadyLoad
from test_privileges import assert_no_page_is_writable_and_executable, can

HERE = pathlib.Path(__file__).parent
UNITS = ROOT / 'examples' / 'systemd'
MASTER = ('-M', '--hook-master-start', 'print:uWSGI hears signals')  # The fixture's handler of SIGTERM goes with --master.
EXPOSURE = 20  # In tenths; systemd calls it OK.


def settings(unit):
    """NAME=VALUE of a unit, where each name is there once."""
    return dict(re.findall(r'^(\w+)=(.*)$', (UNITS / unit).read_text(), re.MULTILINE))


def option(name):
    return re.search(rf'^{name} = (.*)$', (UNITS / 'uwsgi.ini').read_text(), re.MULTILINE)[1]


@pytest.fixture
def notified():
    """What NOTIFY_SOCKET names: (path, a function that waits for READY=1 and tells the pid that says so)."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        receiver.bind(f'{folder}/notify')
        receiver.settimeout(60)

        def ready():
            while True:
                message, ancillary, _, _ = receiver.recvmsg(4096, socket.CMSG_SPACE(12))
                if b'READY=1' in message.splitlines():
                    return struct.unpack('3i', ancillary[0][2])[0]
        yield f'{folder}/notify', ready


@pytest.fixture
def service(server, notified, tmp_path):
    """The service as ExecStart= has it; its port is the activated socket's, which lives until the test's end."""
    before, after = settings('app.service')['ExecStart'].split(UWSGI)
    path, ready = notified
    with socket.create_server(('127.0.0.1', 0), backlog=100) as listening:
        def start(*options, launcher=(), group='', **more):
            running = server(
                None, *after.replace('/srv/app', str(UNITS)).split(), *options, *MASTER,
                launcher=[*launcher, sys.executable, str(HERE / 'as_systemd.py'), str(listening.fileno()), group, *before.split()],
                pass_fds=[listening.fileno()], environ={'NOTIFY_SOCKET': path, 'UPLOADS': str(tmp_path)}, **more)
            running.reloads = 0
            assert ready() == running.process.pid  # NotifyAccess=main
            running.port = listening.getsockname()[1]
            return running
        yield start


def systemctl_reload(running):
    command = settings('app.service')['ExecReload'].replace('$MAINPID', str(running.process.pid))
    subprocess.run(shlex.split(command), check=True)
    running.reloads += 1


def wait_until_reloaded(running):
    running.wait_for_log(r'\(master-start\)', count=running.reloads + 1)  # Before that it would not hear the next.


def systemctl_stop(running):
    running.process.send_signal(signal.Signals[settings('app.service')['KillSignal']])


def stop(running):
    systemctl_stop(running)
    assert running.process.wait(60) == 0


# --- The units ------------------------------------------------------------------------------------

def test_the_units_are_right():
    done = subprocess.run(['systemd-analyze', 'verify', str(UNITS / 'app.service'), str(UNITS / 'app.socket')],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert (done.returncode, done.stdout) == (0, '')


def test_the_service_is_exposed_to_little():
    done = subprocess.run(['systemd-analyze', 'security', '--offline=yes', f'--threshold={EXPOSURE}', '--no-pager',
                           str(UNITS / 'app.service')], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


def test_systemd_waits_for_longer_than_requests_have():
    assert int(settings('app.service')['TimeoutStopSec']) >= int(option('worker-reload-mercy')) + 10
    assert int(option('worker-reload-mercy')) > int(option('tornado-request-timeout'))
    assert settings('app.service')['KillMode'] == 'mixed' and option('die-on-term') == 'true'


# --- The service ----------------------------------------------------------------------------------

@pytest.mark.smoke
def test_the_first_client_starts_it(server, notified):
    before, after = settings('app.service')['ExecStart'].split(UWSGI)
    path, ready = notified
    port, answers = free_port(), []
    # It gives its child no environment but what it is told to give.
    passed = [word for name in os.environ.keys() | {'NOTIFY_SOCKET', 'PYTHONUNBUFFERED', 'LD_PRELOAD', 'ASAN_OPTIONS', 'UBSAN_OPTIONS'}
              for word in ('-E', name)]

    def first_client():
        wait_until(lambda: accepted(port, answers))

    client = threading.Thread(target=first_client)
    client.start()
    running = server(None, *after.replace('/srv/app', str(UNITS)).split(), *MASTER, environ={'NOTIFY_SOCKET': path},
                     launcher=['systemd-socket-activate', '-l', f'127.0.0.1:{port}', *passed, *before.split()])
    client.join(60)
    assert body_of(answers[0]).endswith(b' answered\n')
    assert ready() == running.process.pid
    stop(running)


def accepted(port, answers):
    """Whether somebody listens; the answer to a first request is then among the answers."""
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(('127.0.0.1', port), timeout=60) as client:
        client.sendall(b'GET / HTTP/1.0\r\n\r\n')
        answers.append(closed_by_server(client))
        return True
    return False


def test_reloads_lose_nothing(service):
    """ExecReload= under load, and the socket is the same after it."""
    running = service()
    with SteadyLoad(running.port, '/', clients=10) as load:
        for _ in range(2):
            load.wait_for_answers(20)
            with in_flight(running.port):
                systemctl_reload(running)
                running.wait_for_log('racefully killing worker 1', count=running.reloads)
            wait_until_reloaded(running)
        load.wait_for_answers(20)
    assert len(load.pids) >= 3
    stop(running)


def test_a_stop_lets_requests_end_and_the_socket_be(service):
    """Who comes meanwhile waits at the socket, and is answered by the next."""
    running = service()
    with in_flight(running.port):
        systemctl_stop(running)
        running.wait_for_log('was told to end')
        with running.connect() as later:
            later.sendall(b'GET / HTTP/1.0\r\n\r\n')
            assert running.process.poll() is None
            next_one = later.dup()
    with next_one:
        assert running.process.wait(60) == 0
        running = service()
        assert body_of(closed_by_server(next_one)).endswith(b' answered\n')
    stop(running)


@pytest.mark.skipif(ASAN, reason='the sanitizer has memory of its own to protect')
@pytest.mark.skipif(not can(sys.executable, str(HERE / 'without_new_code.py'), 'setpriv', '--no-new-privs', 'true'),
                    reason='no seccomp filter can be set here')
def test_the_service_needs_no_more_than_it_is_let(service):
    """NoNewPrivileges=, SystemCallFilter= and MemoryDenyWriteExecute=, and a reload with them."""
    running = service('--processes', '1', launcher=['setpriv', '--no-new-privs', sys.executable, str(HERE / 'without_new_code.py')],
                      group=settings('app.service')['SystemCallFilter'])
    for reloads in range(2):
        results, _ = running.get_all(['/'] * 20)
        assert [result[0] for result in results] == [200] * 20, running.log
        assert running.get('/files/uploaded', 'PUT', b'body')[0] == 201, running.log
        assert running.get('/files/uploaded')[2] == b'body', running.log
        status = pathlib.Path(f'/proc/{running.process.pid}/status').read_text()
        assert 'NoNewPrivs:\t1' in status and 'Seccomp:\t2' in status
        for pid in running.children():
            assert_no_page_is_writable_and_executable(pid)
        if not reloads:
            systemctl_reload(running)
            wait_until_reloaded(running)
    stop(running)
