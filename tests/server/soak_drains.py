"""A worker that has just started processes hears its SIGHUP, SOAK_DRAINS (100) times."""
import os

DRAINS = int(os.environ.get('SOAK_DRAINS', 100))


def test_drain_straight_after_processes(server):
    for _ in range(DRAINS):
        running = server('gil.py', cores=30)
        results, _ = running.get_all(['/command?done'] * 20)
        assert [body for _, _, body in results] == [b'done'] * 20
        running.drain()
