"""C code that waits with the GIL kept for another request: it stops the worker once, as it stops every thread, and then suspends."""
import json

import pytest

import services

from native import CC, built
from test_kernel_waits import waiting

LOOKS = 10  # A wait that nobody ends looks again now and then.
CALLS = {'condition': 'pthread_cond_wait', 'futex': 'syscall(SYS_futex)'}


def reported(running):
    return json.loads(running.get('/report')[2])


@pytest.mark.parametrize('kind', CALLS)
def test_wait_with_the_gil_kept_stops_the_worker_once(server, kind):
    library = built('gate.so', 'gate.c', *CC, '-O2', '-shared', '-fPIC', '-Wall', '-Wextra', '-Werror')
    running = server('gil_kept.py', environ={'GATE': str(library)})
    with waiting(running, f'/wait?{kind}') as answer:
        services.wait_until(lambda: reported(running)['suspended'].get(CALLS[kind], 0) >= LOOKS, 'looks')
        assert answer == []
        running.get(f'/open?{kind}')
    assert answer == [b'passed']
    assert reported(running)['blocked'][CALLS[kind]] == {'the GIL was held': 1}
