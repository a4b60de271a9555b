"""Functions of spawn() end with their threads, and wait for memory where there is none."""
from conftest import ASAN

import pytest


@pytest.mark.skipif(bool(ASAN), reason='a sanitizer keeps mappings of threads that have ended')
def test_what_spawned_functions_used_is_given_back(server):
    running = server('spawned.py')
    running.get('/left?40')  # What comes once: an arena, modules.
    assert int(running.get('/left?1200')[2]) < 40


@pytest.mark.skipif(bool(ASAN), reason='a sanitizer reserves more address space than the limit')
def test_spawned_functions_wait_for_memory(server):
    running = server('spawned.py', '--limit-as', '2000')
    assert running.get('/at_once?1500')[2] == str(sum(range(1500))).encode()
    assert running.get('/')[2] == b'hello'
