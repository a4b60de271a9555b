"""The signal mask is a request's own, and the worker's stays what it was."""
import pathlib
import re

import pytest


def blocked_in(pid):
    """What the worker's thread has blocked, asked from outside."""
    status = pathlib.Path(f'/proc/{pid}/status').read_text()
    return int(re.search(r'SigBlk:\s*(\w+)', status).group(1), 16)


@pytest.mark.smoke
def test_each_request_has_a_mask_of_its_own(server):
    running = server('signal_masks.py')
    pid = int(running.get('/pid')[2])
    at_first = blocked_in(pid)
    results, _ = running.get_all(['/own', '/others'])
    assert [body for _, _, body in results] == [b'([], True)', b'[]']
    assert blocked_in(pid) == at_first


@pytest.mark.smoke
def test_worker_that_started_processes_hears_signals(server):
    """CPython starts a process with all signals blocked, and from 3.12 on others may run meanwhile."""
    running = server('signal_masks.py', '--tornado-quantum', '0.1')
    pid = int(running.get('/pid')[2])
    at_first = blocked_in(pid)
    results, _ = running.get_all(['/process?3'] * 20)
    assert [body for _, _, body in results] == [b'started'] * 20
    assert blocked_in(pid) == at_first
    running.drain()
