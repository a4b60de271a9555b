"""One worker, one thread, many requests at once."""
import pytest


@pytest.mark.smoke
def test_sleeping_requests_overlap(server):
    running = server('basic.py', cores=200)
    results, seconds = running.get_all(['/sleep?0.5'] * 150)
    assert [r[2] for r in results] == [b'hello'] * 150
    assert seconds < 150 * 0.5 / 10
