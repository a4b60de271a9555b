"""Recursion of every kind ends in Python's own error on the default stack, never in a crash."""
import json
import re
import threading

import pytest

PLACES = pytest.mark.parametrize('place', ['', '&greenlet', '&task'], ids=['request', 'greenlet', 'task'])


@pytest.fixture
def deep(server):
    return server('deep.py', '--greenlet', cores=20)


def outcome(running, path):
    """The status, and whether the log names Python's error for too deep a recursion."""
    before = len(running.log)
    status = running.get(path, timeout_s=60)[0]
    # The compiler's parser calls it a lack of memory.
    return status, re.search('RecursionError|MemoryError', running.log[before:]) is not None


def ask_each(running, wanted, place):
    """Outcomes by kind, while another request waits; all by the same worker."""
    pid = running.get('/pid')[2]
    waited = []
    other = threading.Thread(target=lambda: waited.append(running.get('/wait?2', timeout_s=120)[2]))
    other.start()
    kinds = json.loads(running.get('/kinds')[2])[wanted]
    assert len(kinds) > 10
    outcomes = {kind: outcome(running, f'/recurse?{kind}{place}') for kind in kinds}
    assert running.get('/wait?2')[2] == b'waited'
    other.join(120)
    assert waited == [b'waited']
    assert running.get('/pid')[2] == pid
    return outcomes


@pytest.mark.smoke
@PLACES
def test_endless_recursion_of_every_kind_is_an_error_of_its_request(deep, place):
    outcomes = ask_each(deep, 'endless', place)
    assert {kind: found for kind, found in outcomes.items() if found != (500, True)} == {}


@PLACES
def test_deep_structures_are_worked_through_and_freed(deep, place):
    outcomes = ask_each(deep, 'ends', place)
    assert {kind: found for kind, found in outcomes.items() if found != (200, False)} == {}
