"""A C library's own mutex, held by a request that waits, keeps other requests out and stops nobody."""
import threading

import pytest

from overlap import ask_at_once


@pytest.mark.smoke
@pytest.mark.parametrize('kind', ['fast', 'recursive'])
def test_requests_take_turns_whether_they_keep_the_gil_or_not(server, kind):
    answers, _ = ask_at_once(server('mutexes.py', cores=110), f'/{kind}')
    assert answers == [f'{n} 1' for n in range(100)]


def test_worker_that_could_never_go_on_says_so_and_ends(server):
    running = server('mutexes.py')
    holder = threading.Thread(target=lambda: pytest.raises(Exception, running.get, '/hold_long'), daemon=True)
    holder.start()
    while running.get('/inside')[2] != b'1':
        assert holder.is_alive()
    with pytest.raises(Exception):
        running.get('/under_guard')
    running.process.wait(30)
    assert 'a mutex of a C library that a suspended request holds' in running.log
    holder.join(30)
