"""Requests that are preempted while others wait for asyncio's streams and sockets: each gets its own bytes."""
import pytest

from overlap import ask_at_once

AT_ONCE = 30


@pytest.mark.parametrize('how', ('stream', 'socket'))
def test_each_gets_its_own_bytes(server, how):
    running = server('streams.py', '--tornado-quantum', '1', cores=AT_ONCE)
    assert ask_at_once(running, f'/{how}', AT_ONCE)[0] == [str(number) for number in range(AT_ONCE)]
