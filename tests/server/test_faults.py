"""Faults injected while hundreds of requests wait: of the kernel, of signals, children, clocks, lines and callbacks.

TORNADO_SEED repeats a run; the long runs are tests/soak/test_chaos.py.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from conftest import ASAN, ROOT, command, free_port
from upstreams import started

sys.path.insert(0, str(ROOT / 'tests' / 'faults'))
from bad_line import BadLine  # noqa: E402
from chaos_load import Load  # noqa: E402
from preloaded import Faults  # noqa: E402
from seeds import reproduced_by  # noqa: E402

SECONDS = 1
CLIENTS = 30


@pytest.fixture
def chaos(server, upstream):
    """Starts chaos.py with faults; gives what a load of it said."""
    def start(faults='', environ=None, seconds=SECONDS, beside=None, **more):
        running = server('chaos.py', '--tornado-client-disconnect', '--disable-logging', cores=CLIENTS + 10,
                         environ={'UPSTREAM_PORT': str(upstream.port), 'CHAOS_FAULTS': faults, **(environ or {})}, **more)
        load = Load([running.port], CLIENTS).start()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            (beside or time.sleep)(0.05)
        load.stop()
        assert not load.wrong, (reproduced_by(), load.wrong[:3], running.log[-5000:])
        assert load.outcomes['committed'] > 0, load.outcomes
        return running
    return start


def report(running):
    import json
    return json.loads(running.get('/report')[2])['faults']


def test_signals_with_handlers_of_pythons_and_profilers(chaos):
    seen = report(chaos('signals'))
    assert seen['SIGALRM'] > 20 and seen['SIGPROF'] > 20
    assert seen['handlers in requests'] == 0


def test_storms_of_children_that_end(chaos):
    seen = report(chaos('children'))
    assert seen['children'] > 5 and seen['SIGCHLD'] > 5


def test_requests_that_are_profiled(chaos):
    assert report(chaos('profile'))['calls'] > 100


def test_threads_that_outlive_their_requests(chaos):
    running = chaos('threads')
    assert report(running)['threads'] > 5


def test_callbacks_that_run_out_of_memory(chaos):
    assert report(chaos('callbacks'))['callbacks'] > 10


@pytest.mark.skipif(ASAN, reason='the sanitizer has these functions itself')
def test_kernel_that_says_again_interrupts_and_cuts_short(chaos, tmp_path):
    faults = Faults(tmp_path, percent=20)
    chaos(launcher=faults.launcher)
    counts = faults.counts()
    assert all(count > 50 for count in counts.values()), counts
