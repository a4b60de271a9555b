"""A descriptor closed in the turn in which the worker's event loop watches it is forgotten, whoever takes its number."""
import pytest

from overlap import ask_at_once


@pytest.mark.smoke
@pytest.mark.parametrize('path', ['/here', '/by_number', '/in_a_thread', '/replaced'])
def test_descriptor_closed_while_watched_is_forgotten(server, path):
    running = server('closed_while_watched.py')
    assert running.get(path)[2] == b'0'
    assert ask_at_once(running, path, 10)[0] == ['0'] * 10
