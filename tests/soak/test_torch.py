"""PyTorch in many requests at once: its modes are each request's own. Here for its size; the other libraries: test_native_libraries.py."""
import pytest

import conftest
from overlap import ask_at_once

REQUESTS = 50


@pytest.mark.parametrize('quantum_ms', [1, 10])
def test_answers_of_torch_are_those_of_threads(quantum_ms, server, threaded_server, monkeypatch):
    monkeypatch.setattr(conftest, 'START_S', 180)
    environ = {'QUANTUM_MS': str(quantum_ms)}
    here = server('with_torch.py', '--tornado-quantum', str(quantum_ms), '--lazy-apps', cores=REQUESTS, environ=environ)
    there = threaded_server('with_torch.py', '--lazy-apps', threads=20, environ=environ)
    for name in ('grad_mode', 'hook', 'autocast', 'product'):
        for how in ('plain', 'waits', 'computes'):
            path = f'/{name}/{how}'
            assert ask_at_once(here, path, REQUESTS)[0] == ask_at_once(there, path, REQUESTS)[0], path
