"""Every way to end a worker: what is in flight is answered, what is left on the loop cleans up, exit functions run."""
import contextlib
import os
import re
import signal
import threading

import pytest

from health import closed_by_server

READY = 'tornado: [0-9]+ cores on fibers'
RELOAD_CODE = 17
END_CODE = 30
LAST_WORDS = ('the task has cleaned up', 'the asynchronous generator is closed', 'atexit, True', 'uwsgi.atexit')
MASTER = '-M'  # The fixture's handler of SIGTERM goes with --master.


@pytest.fixture
def start(server):
    return lambda *options, **more: server('ending.py', '--worker-reload-mercy', '30', *options, **more)


class Held:
    """Requests in flight, while the block tells their workers to end."""

    def __init__(self, running, count=10, path='/hold'):
        self.running, self.path, self.count, self.clients = running, path, count, []

    def __enter__(self):
        said = self.running.log.count(': holds')
        for _ in range(self.count):
            self.clients.append(self.running.connect())
            self.clients[-1].sendall(f'GET {self.path} HTTP/1.0\r\n\r\n'.encode())
        self.running.wait_for_log(': holds', count=said + self.count)
        return self

    def __exit__(self, *error):
        for client in self.clients:
            with contextlib.closing(client):
                assert closed_by_server(client).endswith(b'held') or error[0]


def worker(running):
    """The pid of the only one."""
    return int(re.findall(r'pawned uWSGI worker 1 \(.*?pid: (\d+)', running.log)[-1])


def assert_last_words(running, pid):
    for words in LAST_WORDS:
        assert f'{pid}: {words}' in running.log, words


def end(running):
    """The test's own end of a server whose SIGTERM is uWSGI's."""
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(30) == 0


# --- Without a master ------------------------------------------------------------------------------

@pytest.mark.smoke
@pytest.mark.parametrize('number, code', [(signal.SIGHUP, RELOAD_CODE), (signal.SIGINT, END_CODE), (signal.SIGTERM, END_CODE),
                                          (signal.SIGQUIT, END_CODE)], ids=lambda value: str(int(value)))
def test_signal_to_a_worker_alone(start, number, code):
    running = start()
    assert running.get('/leave')[0] == 200
    with Held(running):
        running.process.send_signal(number)
    assert running.process.wait(30) == code
    assert_last_words(running, running.process.pid)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT], ids=int)
def test_second_signal_to_a_worker_alone_is_immediate(start, number):
    running = start()
    with running.connect() as client:
        client.sendall(b'GET /sleep HTTP/1.0\r\n\r\n')
        running.wait_for_log(': sleeps')
        running.process.send_signal(number)
        running.wait_for_log('was told to end')
        assert running.process.poll() is None
        running.process.send_signal(number)
        assert running.process.wait(20) == END_CODE  # The request takes 60 s, the mercy 30.
    assert 'ends at once' in running.log


# --- A master ends or reloads all ------------------------------------------------------------------

def fifo(command):
    def write(running):
        with open(running.log_path.parent / 'fifo', 'w') as commands:
            commands.write(command)
    return write


def to_master(number):
    return lambda running: running.process.send_signal(number)


def to_worker(number):
    return lambda running: os.kill(worker(running), number)


def to_all(number):
    """As a terminal does, and a supervisor that ends a group."""
    def tell(running):
        for pid in (worker(running), running.process.pid):
            os.kill(pid, number)
    return tell


def touch(running):
    file = running.log_path.parent / 'touched'
    deadline = threading.Event()
    while 'has been touched' not in running.log and not deadline.wait(0.05):
        seconds = file.stat().st_mtime + 10  # uWSGI looks at whole seconds.
        os.utime(file, (seconds, seconds))


def ask_until_done(running):
    while 'The work of process' not in running.log:
        running.get('/is_set')


ENDS = {
    'INT': (to_master(signal.SIGINT), []),
    'QUIT': (to_master(signal.SIGQUIT), []),
    'TERM, die-on-term': (to_master(signal.SIGTERM), ['--die-on-term']),
    'fifo q': (fifo('q'), []),
    'fifo Q': (fifo('Q'), []),
    'INT to the group': (to_all(signal.SIGINT), []),
}

RELOADS = {
    'HUP': (to_master(signal.SIGHUP), []),
    'TERM': (to_master(signal.SIGTERM), []),
    'QUIT, die-on-term': (to_master(signal.SIGQUIT), ['--die-on-term']),
    'fifo r': (fifo('r'), []),
    'fifo c': (fifo('c'), []),
    'HUP to the worker': (to_worker(signal.SIGHUP), []),
    'INT to the worker': (to_worker(signal.SIGINT), []),
    'touch': (touch, ['--touch-reload', 'touched']),
    'touch chain': (touch, ['--touch-chain-reload', 'touched']),
    'touch workers': (touch, ['--touch-workers-reload', 'touched']),
    'uwsgi.reload()': (lambda running: running.get('/reload'), []),
    'max-requests': (lambda running: running.get('/is_set'), ['--max-requests', '2', '--min-worker-lifetime', '0']),
    'reload-on-rss': (ask_until_done, ['--reload-on-rss', '1', '--min-worker-lifetime', '2']),
    'max-worker-lifetime': (lambda running: running.wait_for_log('lifetime reached'),
                            ['--max-worker-lifetime', '4', '--min-worker-lifetime', '0']),
}


def start_with_master(start, tmp_path, options):
    (tmp_path / 'touched').touch()
    running = start(MASTER, '--master-fifo', 'fifo', '--lazy-apps', '--no-defer-accept', *options)
    assert running.get('/leave')[0] == 200
    return running


@pytest.mark.parametrize('way', ENDS)
def test_end_of_all(start, tmp_path, way):
    tell, options = ENDS[way]
    running = start_with_master(start, tmp_path, options)
    pid = worker(running)
    with Held(running):
        tell(running)
    assert running.process.wait(30) == 0
    assert_last_words(running, pid)
    assert 'NO MERCY' not in running.log and 'ends at once' not in running.log


@pytest.mark.parametrize('way', RELOADS)
def test_reload(start, tmp_path, way):
    tell, options = RELOADS[way]
    running = start_with_master(start, tmp_path, options)
    pid = worker(running)
    with Held(running):
        tell(running)
        running.wait_for_log(READY, count=2)
    assert_last_words(running, pid)
    assert running.get('/is_set')[2].startswith(b'False')
    assert 'NO MERCY' not in running.log and 'ends at once' not in running.log and 'DAMN' not in running.log
    end(running)


@pytest.mark.parametrize('first, second, options', [
    (signal.SIGINT, signal.SIGINT, []), (signal.SIGTERM, signal.SIGTERM, ['--die-on-term']), (signal.SIGTERM, signal.SIGINT, [])],
    ids=['INT, INT', 'TERM, TERM', 'TERM to reload, INT'])
def test_second_signal_to_the_master_is_immediate(start, tmp_path, first, second, options):
    running = start_with_master(start, tmp_path, options)
    with running.connect() as client:
        client.sendall(b'GET /sleep HTTP/1.0\r\n\r\n')
        running.wait_for_log(': sleeps')
        running.process.send_signal(first)
        running.wait_for_log('was told to end')
        assert running.process.poll() is None
        while running.process.poll() is None:  # The master may have been busy with the first.
            running.process.send_signal(second)
            with contextlib.suppress(Exception):
                running.process.wait(1)
    assert running.process.returncode == 0
    assert 'NO MERCY' not in running.log


# --- Fewer workers ---------------------------------------------------------------------------------

def test_worker_that_is_cheaped_ends_what_it_does(start, tmp_path):
    """uWSGI chooses one without requests; it may still do other things."""
    running = start_with_master(start, tmp_path, ['--processes', '2', '--cheaper', '1', '--cheaper-algo', 'manual',
                                                  '--cheaper-initial', '2'])
    fifo('-')(running)
    running.wait_for_log(r'uWSGI worker \d cheaped')
    assert 'NO MERCY' not in running.log
    cheaped = re.search(r'uWSGI worker (\d) cheaped', running.log)[1]
    pid = int(re.findall(rf'pawned uWSGI worker {cheaped} \(.*?pid: (\d+)', running.log)[0])
    assert f'{pid}: atexit, True' in running.log
    results, _ = running.get_all(['/is_set'] * 20)
    assert all(status == 200 for status, _, _ in results)
    fifo('+')(running)
    running.wait_for_log(f'espawned uWSGI worker {cheaped}')
    results, _ = running.get_all(['/is_set'] * 20)
    assert all(body.startswith(b'False') for _, _, body in results)
    end(running)
