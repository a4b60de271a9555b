"""Requests that wait in the kernel for another request: each suspends, and answers as on threads."""
import contextlib
import sys
import threading

import pytest

WAYS = ['fifo', 'semaphore', 'queue', 'sigwait', 'splice', 'system']
PYTHON_HAS_SPLICE = sys.version_info >= (3, 10)


@contextlib.contextmanager
def waiting(running, path):
    """The answer to a request to the path, as a list that has it at the end; it waits as the block begins."""
    answer = []
    thread = threading.Thread(target=lambda: answer.append(running.get(path)[2]), daemon=True)
    thread.start()
    yield answer
    thread.join(20)


def answers(running, way):
    with waiting(running, f'/{way}?0') as first:
        for _ in range(3):  # The worker goes on meanwhile.
            assert running.get('/hello')[2] == b'hello'
        assert first == []
        second = running.get(f'/{way}?1')[2]
    assert first, f'{way}: it was not woken'
    return first[0], second


@pytest.mark.smoke
def test_requests_that_wait_in_the_kernel_for_each_other(server, threaded_server):
    running, reference = server('kernel_waits.py'), threaded_server('kernel_waits.py')
    for way in WAYS:
        if way != 'splice' or PYTHON_HAS_SPLICE:
            assert answers(running, way) == answers(reference, way), way
    for one in running, reference:
        assert one.get('/end')[2] == b'ended'
