"""With a debug Python: requests, however they end, leave no reference. Run by `make test-debug-python`.

uWSGI's python plugin itself leaves one for each request: what is compared with is its --threads.
"""
import concurrent.futures
import contextlib
import os
import statistics
import subprocess

import pytest

from conftest import OTHER_PYTHON

EVERYWHERE = ['quick', 'streamed', 'raises']
OURS = ['awaits', 'spawns', 'looks', 'ended_asleep', 'ended_in_lock', 'ended_in_await', 'ended_again_and_again', 'ended_in_stream']
CLIENTS = 20
REQUESTS = 120
ROUNDS = int(os.environ.get('SOAK_ROUNDS', 9))


def counts_references():
    code = 'import sys; sys.exit(not hasattr(sys, "gettotalrefcount"))'
    return OTHER_PYTHON is not None and subprocess.call([OTHER_PYTHON, '-c', code]) == 0


pytestmark = pytest.mark.skipif(not counts_references(), reason='no debug Python')


def left_by_each(running, path):
    """References that a request of `path` leaves: of most rounds, for caches fill in some."""
    def get(_):
        with contextlib.suppress(OSError, EOFError):  # Streams that are ended are cut.
            running.get('/' + path)

    def count():
        list(pool.map(get, range(REQUESTS)))
        return int(running.get('/count')[2])

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        counts = [count() for _ in range(ROUNDS + 1)]
    return statistics.median((after - before) / (REQUESTS + 1) for before, after in zip(counts, counts[1:]))


@pytest.fixture(scope='module')
def left_by_threads():
    return {}


@pytest.mark.parametrize('path', EVERYWHERE + OURS)
def test_requests_leave_no_reference(server, threaded_server, left_by_threads, path):
    if not left_by_threads:
        reference = threaded_server('references.py', '--disable-logging', threads=CLIENTS)
        left_by_threads.update({each: left_by_each(reference, each) for each in EVERYWHERE})
    running = server('references.py', '--disable-logging', '--tornado-request-timeout', '0.1')
    ours = left_by_each(running, path)
    theirs = left_by_threads.get(path, left_by_threads['quick'])
    print(f'{path}: {ours:.2f} references a request, {theirs:.2f} under --threads')
    assert ours < theirs + 0.05
