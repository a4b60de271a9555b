"""uwsgi_tornado.stopping where there is no worker: it is never set, and can be waited for all the same."""
import asyncio
import os
import select

import pytest
from uwsgi_tornado import stopping


def test_it_is_not_set():
    assert stopping.is_set() is False
    assert stopping.wait(0) is False and stopping.wait(timeout=0.01) is False and stopping.wait(-1) is False


def test_its_descriptor_is_not_readable():
    assert select.select([stopping], [], [], 0.01) == ([], [], [])
    assert stopping.fileno() == stopping.fileno() and not os.get_inheritable(stopping.fileno())


def test_awaiting_it_may_time_out(loop):
    async def wait():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(stopping, 0.01)
    for _ in range(3):
        loop.run_until_complete(wait())


def test_waiting_where_a_loop_runs_is_an_error(loop):
    async def wait():
        stopping.wait(0.01)
    with pytest.raises(RuntimeError, match='await it'):
        loop.run_until_complete(wait())
    with pytest.raises(RuntimeError, match='in plain code call wait'):
        stopping.__await__()


def test_there_is_one():
    with pytest.raises(TypeError):
        type(stopping)()
    assert stopping.__doc__ and stopping.wait.__doc__
    with pytest.raises(TypeError):
        stopping.wait('soon')
