"""Stacks: an overrun is named before the worker dies of it, and depth does not cost memory for ever."""
import contextlib
import http.client
import re
import resource
import subprocess
import sys
import threading
import time

import pytest

from conftest import APPS, ASAN
from native import CC

# As the documents say: what a thread has, within bounds.
DEFAULT_KIB = min(max(resource.getrlimit(resource.RLIMIT_STACK)[0] >> 10, 4096), 65536)
if resource.getrlimit(resource.RLIMIT_STACK)[0] == resource.RLIM_INFINITY:
    DEFAULT_KIB = 8192
MORE_THAN_THE_STACK = (DEFAULT_KIB << 10) + 25_000

OVERRAN = r'tornado: (.*) overran its stack of (\d+) KiB, so worker 1 \(pid: (\d+)\) dies: .*--tornado-stack-size'
DIED = r'DAMN ! worker 1 \(pid: {}\) died(.*) :\( trying respawn'
KILLED = ', killed by signal 11'


@pytest.fixture
def recursion(tmp_path):
    library = str(tmp_path / 'recursion.so')
    subprocess.run([*CC, '-O0', '-shared', '-fPIC', '-o', library, str(APPS / 'recursion.c')], check=True)
    return library


@pytest.fixture
def deep(server, recursion):
    """A worker that may die: its master starts another."""
    def start(*options, **arguments):
        return server('deep.py', '--master', '--greenlet', *options, cores=5,
                      environ={'RECURSION': recursion, **arguments})

    return start


def ask_fatally(running, path):
    """Asks for what ends the worker: (pid, how it died, the log from there to where the next serves)."""
    before = len(running.log)
    pid = running.get('/pid')[2].decode()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        running.get(path)
    running.wait_for_log(DIED.format(pid))
    assert running.get('/hello')[2] == b'hello'
    assert running.get('/pid')[2].decode() != pid
    return pid, re.search(DIED.format(pid), running.log)[1], running.log[before:]


@pytest.mark.smoke
@pytest.mark.parametrize('path, who, where', [
    ('/overrun', r'GET /overrun on core \d', 'in_hash_of_nested'),
    ('/overrun_in_c', r'GET /overrun_in_c on core \d', 'in overrun_in_c'),
    (f'/overrun_with_alloca?{MORE_THAN_THE_STACK}', rf'GET /overrun_with_alloca\?{MORE_THAN_THE_STACK} on core \d', 'in overrun_with_alloca'),
    ('/overrun_beside', 'work beside the requests', 'in_hash_of_nested'),
    ('/overrun_in_greenlet', r'a greenlet of GET /overrun_in_greenlet on core \d', 'in_hash_of_nested'),
])
def test_overrun_is_named_and_the_worker_starts_again(deep, path, who, where):
    pid, died, log = ask_fatally(deep(), path)
    assert died == KILLED
    found = re.search(OVERRAN, log)
    assert found, log
    assert re.fullmatch(who, found[1])
    assert found.group(2, 3) == (str(DEFAULT_KIB), pid)
    assert re.search(rf'Stack \(most recent call first\):\n.*{where}', log), log
    assert 'Segmentation Fault' not in log  # uWSGI's own handler, which allocates.


def test_overrun_names_the_size_that_was_given(deep):
    running = deep('--tornado-stack-size', '512')
    if sys.version_info < (3, 12):
        running.wait_for_log('recursion through C may overrun stacks of 512 KiB; --tornado-stack-size 3000 is enough')
    else:  # These bound it by the stack.
        assert 'may overrun' not in running.log
    log = ask_fatally(running, '/overrun')[2]
    assert re.search(OVERRAN, log)[2] == '512'


@pytest.mark.parametrize('options', [[], ['--tornado-stack-size', '512']], ids=['default', '512 KiB'])
def test_recursion_that_python_does_not_end_before_the_stack(deep, options):
    """The application has raised Python's limit. From 3.12 on calls of C have one of their own, which fits the stack here; under
    --threads these die, too, unless the stack is far larger than 8 MiB."""
    running = deep(*options)
    if sys.version_info < (3, 12):
        _, _, log = ask_fatally(running, '/sort_without_limit')
        assert re.search(OVERRAN, log)[1].startswith('GET /sort_without_limit on core ')
        assert re.search(r'Stack \(most recent call first\):\n.*in_sort_key', log), log
    else:
        pid = running.get('/pid')[2]
        assert running.get('/sort_without_limit')[0] == 500
        assert 'RecursionError: ' in running.log
        assert running.get('/pid')[2] == pid


def test_default_stack_holds_what_python_allows(deep):
    assert 'may overrun' not in deep().log


@pytest.mark.skipif(DEFAULT_KIB < 8192, reason='a thread has less here')
def test_default_stack_is_that_of_a_thread(deep):
    """As deep as an application may go under --threads when it raises Python's limit: 6 MiB."""
    running = deep()
    assert running.get('/sort_deep?1200')[2] == b'1200'
    assert 'died' not in running.log


@pytest.mark.parametrize('options, environ', [
    ([], {'PYTHONFAULTHANDLER': '1'}),
    ([], {}),
], ids=['before', 'in the request'])
def test_overrun_is_named_beside_faulthandler(deep, options, environ):
    path = '/overrun' if environ else '/overrun_after_faulthandler'
    _, died, log = ask_fatally(deep(*options, **environ), path)
    assert died == KILLED
    assert re.search(OVERRAN, log)[1].startswith(f'GET {path} on core ')
    assert log.count('Fatal Python error: Segmentation fault') == (0 if environ else 1)


@pytest.mark.parametrize('path', ['/fault', '/signal_itself', '/fault_after_faulthandler'])
def test_other_faults_are_handled_as_before(deep, path):
    running = deep()
    pid, died, log = ask_fatally(running, path)
    assert died == ''  # uWSGI's handler exits.
    assert 'overran' not in log
    assert f'!!! uWSGI process {pid} got Segmentation Fault !!!' in log
    assert f'*** backtrace of {pid} ***' in log
    assert log.count('Fatal Python error: Segmentation fault') == (1 if 'faulthandler' in path else 0)
    running.kill()
    running.log_path.write_text('')  # Which the fixture reads for faults that no test asked for.


# --- How deep, and for how long ---------------------------------------------------------------

CORES = 20
LEVELS = 400  # Of sorted() with a key: 5 KiB of stack each.


@contextlib.contextmanager
def all_deep(running, levels):
    """While CORES requests wait that many levels down."""
    answers = []
    asked = threading.Thread(target=lambda: answers.extend(
        running.get_all([f'/deep_together?{CORES}&{levels}'] * CORES)[0]))
    asked.start()
    assert running.get(f'/meet_at_the_bottom?{CORES}')[2] == b'met'
    yield
    assert running.get(f'/let_go?{CORES}')[2] == b'gone'
    asked.join(60)
    assert [answer[2] for answer in answers] == [b'ended'] * CORES


def resident_kib(running):
    return int(running.get('/resident_kib')[2])


needs_free_to_free = pytest.mark.skipif(ASAN, reason='the sanitizer keeps what is freed')


@needs_free_to_free
@pytest.mark.smoke
def test_memory_of_deep_requests_comes_back(server):
    running = server('deep.py', cores=CORES + 2)
    with all_deep(running, 1):
        pass  # Stacks and thread states are there.
    before = resident_kib(running)
    with all_deep(running, LEVELS):
        deep = resident_kib(running)
    assert deep - before > CORES * LEVELS * 4
    assert resident_kib(running) - before < (deep - before) / 4


WAITING = 300
EACH_KIB_MAX = 24  # uWSGI's shared buffers are another 8, page tables 4.


@needs_free_to_free
def test_memory_of_requests_that_wait(server):
    running = server('deep.py', cores=WAITING + 2)
    before = resident_kib(running)
    answers = []
    asked = threading.Thread(target=lambda: answers.extend(running.get_all([f'/meet_at_the_bottom?{WAITING}'] * WAITING)[0]))
    asked.start()
    deadline = time.monotonic() + 30
    while int(running.get('/waiting_at_the_bottom')[2]) < WAITING and time.monotonic() < deadline:
        time.sleep(0.05)
    each_kib = (resident_kib(running) - before) / WAITING
    assert running.get(f'/meet_at_the_bottom?{WAITING}')[2] == b'met'
    asked.join(60)
    assert [answer[2] for answer in answers] == [b'met'] * WAITING
    assert each_kib < EACH_KIB_MAX


@needs_free_to_free
def test_memory_of_deep_greenlets_comes_back(server):
    running = server('deep.py', '--greenlet', cores=2)
    assert running.get('/greenlets_recurse?1')[2] == b'ended'
    before = resident_kib(running)
    assert running.get('/greenlets_recurse?20')[2] == b'ended'
    assert resident_kib(running) - before < 20 * 512  # KiB; each was 2 MiB deep.


def test_deepest_use_is_a_metric(server):
    running = server('deep.py', '--enable-metrics', '--master', cores=2)
    assert running.get('/hello')[2] == b'hello'
    assert 4 <= peak_kib(running, at_least=1) < 256
    running.get('/recurse?sort_key')
    least, most = (2000, 4096) if sys.version_info < (3, 12) else (4097, 6144)  # 1000 levels.
    assert least <= peak_kib(running, at_least=256) <= most


def peak_kib(running, at_least):
    """worker.1.tornado.stack_peak; the master collects metrics once a second."""
    deadline = time.monotonic() + 30
    while (found := int(running.get('/peak?1')[2]) >> 10) < at_least and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
