"""Isolation under chaos: random programs of all waits at once, ended at random, each with its canaries.

This is the quick one; the long ones are tests/soak/test_chaos.py. TORNADO_SEED repeats a run.
"""
import sys
import time

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / 'tests' / 'faults'))
from chaos_load import Load  # noqa: E402
from seeds import reproduced_by  # noqa: E402

SECONDS = 3


@pytest.fixture
def chaos(server, upstream, postgres, canaries):
    postgres.query('create table if not exists canary (request bigint, mark bigint)')
    postgres.query('truncate canary')

    def start(*options, **more):
        environ = {'UPSTREAM_PORT': str(upstream.port), 'DSN': postgres.dsn, 'CANARIES': canaries}
        return server('chaos.py', '--tornado-client-disconnect', '--disable-logging', *options, environ=environ, **more)
    return start


def test_nothing_crosses_between_requests_that_wait_and_are_ended_at_random(chaos, postgres):
    running = chaos(cores=60)
    load = Load([running.port], clients=50).start()
    time.sleep(SECONDS)  # The load, not a wait for something.
    load.stop()
    assert not load.wrong, (reproduced_by(), load.wrong[:3], running.log[-5000:])
    assert load.outcomes['committed'] > 0 and load.outcomes['interrupted'] + load.outcomes['504'] > 0, load.outcomes
    rows = dict(postgres.query('select request, count(*) from canary group by request'))
    lost = {number: (rows.get(number, 0), said) for number, (how, said) in load.rows.items()
            if how == 'committed' and rows.get(number, 0) != said}
    assert not lost, (reproduced_by(), lost)
