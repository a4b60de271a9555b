"""Out of descriptors, out of memory: one sentence in the log, nobody harmed who was there, and all is well once they are back."""
import contextlib
import os
import pathlib
import re
import resource
import time

import pytest

from conftest import ASAN
from crowd import GET, ask_at_once, backlog, cores_taken, status_of
from health import closed_by_server, unharmed

CORES = 4
MAX_MAP_COUNT = int(pathlib.Path('/proc/sys/vm/max_map_count').read_text())


@contextlib.contextmanager
def limited(running, limit, value):
    """The server's process has no more than that of a resource within the block."""
    before = resource.prlimit(running.process.pid, limit)
    resource.prlimit(running.process.pid, limit, (value, before[1]))
    yield
    resource.prlimit(running.process.pid, limit, before)


def lowest_free_descriptor(running):
    taken = set(map(int, os.listdir(f'/proc/{running.process.pid}/fd')))
    return min(set(range(len(taken) + 1)) - taken)


def address_space(running):
    status = pathlib.Path(f'/proc/{running.process.pid}/status').read_text()
    return int(re.search(r'VmSize:\s+(\d+) kB', status)[1]) * 1024


@pytest.mark.smoke
def test_out_of_descriptors_clients_wait_for_them(server):
    running = server('bad.py', cores=CORES)
    with unharmed(running, CORES), contextlib.ExitStack() as stack:
        with limited(running, resource.RLIMIT_NOFILE, lowest_free_descriptor(running)):
            waiting = [stack.enter_context(running.connect()) for _ in range(20)]
            for connection in waiting:
                connection.sendall(GET)
            running.wait_for_log(r'accept\(\) failed: Too many open files')
            before = running.cpu_s()
            time.sleep(1.2)  # The time over which CPU is measured; some more accepts fail in it.
            assert running.cpu_s() - before < 0.1
        for connection in waiting:
            assert status_of(closed_by_server(connection)) == 200
    assert running.log.count('accept() failed') < 3  # Not one each time it is tried.


def test_request_in_flight_outlives_the_lack_of_descriptors(server):
    running = server('overload.py', cores=CORES)
    with cores_taken(running, 2):
        pass  # The sanitizer needs a pipe the first time that it looks at an object's type.
    with running.connect() as late:
        with cores_taken(running, 2), limited(running, resource.RLIMIT_NOFILE, lowest_free_descriptor(running)):
            late.sendall(GET)
            running.wait_for_log(r'accept\(\) failed')
        assert status_of(closed_by_server(late)) == 200


@pytest.mark.skipif(ASAN, reason='its shadow is terabytes of address space')
def test_without_memory_for_a_stack_the_request_is_refused(server):
    """A core keeps its stack, so those that had a request before go on serving."""
    running = server('overload.py', cores=CORES)
    assert running.get()[0] == 200
    with limited(running, resource.RLIMIT_AS, address_space(running) + (1 << 20)):
        with cores_taken(running, 1):
            assert [status_of(answer) for answer in ask_at_once(running.port, 20)] == [503] * 20
            status, headers, _ = running.get(method='POST', body=b'x' * 500000)
            assert (status, headers.get('Retry-After')) == (503, '1')
        for _ in range(10):
            assert running.get()[0] == 200
    with cores_taken(running, CORES):
        pass
    assert 0 < running.log.count('no memory for the stack of core') < 5


@pytest.mark.skipif(ASAN, reason='its shadow is terabytes of address space')
def test_core_without_a_stack_does_not_stand_before_those_with_one(server):
    """Its request came in two parts, and in between the core that has a stack became free."""
    running = server('overload.py', cores=CORES)
    assert running.get()[0] == 200
    with limited(running, resource.RLIMIT_AS, address_space(running) + (1 << 20)):
        with running.connect() as halting:
            with cores_taken(running, 1):
                halting.sendall(GET[:5])
                assert running.get()[0] == 503  # So that part has been read.
            halting.sendall(GET[5:])
            assert status_of(closed_by_server(halting)) == 503
        for _ in range(10):
            assert running.get()[0] == 200


@pytest.mark.skipif(ASAN, reason='its shadow is terabytes of address space')
def test_limit_as_bounds_the_cores_and_not_the_service(server):
    """300 stacks of 4 MiB are more than the limit."""
    running = server('overload.py', '--limit-as', '800', '--listen', backlog(512), cores=300)
    for _ in range(2):
        answers = ask_at_once(running.port, 300, b'GET /?0.3 HTTP/1.0\r\n\r\n')
        statuses = [status_of(answer) for answer in answers]
        assert set(statuses) == {200, 503}, set(statuses)
        assert running.get()[0] == 200
    assert 0 < running.log.count('no memory for the stack') < 5


@pytest.mark.skipif(ASAN, reason='it needs mappings of its own at any time')
@pytest.mark.skipif(MAX_MAP_COUNT > 200000, reason='too many for a quick test')
def test_without_a_mapping_for_a_stack_the_request_is_refused(server):
    """vm.max_map_count: a stack is two mappings, for its guard page."""
    running = server('bad.py', cores=CORES)
    assert running.get('/take_mappings?1')[0] == 200
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(running.connect())
        held.sendall(b'GET /hold?0.5 HTTP/1.0\r\n\r\n')
        held.recv(1)  # It has the core with the stack.
        assert [status_of(answer) for answer in ask_at_once(running.port, 20)] == [503] * 20
        closed_by_server(held)
    assert 0 < running.log.count('no memory for the stack of core') < 5
    assert running.get('/give_mappings_back')[0] == 200
    with unharmed(running, CORES):
        pass


def test_application_out_of_memory_is_an_error_and_the_worker_goes_on(server):
    running = server('bad.py', cores=CORES)
    with unharmed(running, CORES):
        for _ in range(10):
            assert running.get('/allocate?1125899906842624')[0] == 500
    assert 'MemoryError' in running.log
