"""To the greenlet package, too, each request is a thread of its own."""
import threading

import pytest

from overlap import ask_at_once


def keeping(running, count):
    """Starts requests that each leave a greenlet and wait; their answers come later."""
    answers = []
    threads = [threading.Thread(target=lambda n=n: answers.append(running.get(f'/keep?{n}')[2]), daemon=True)
               for n in range(count)]
    for thread in threads:
        thread.start()
    while running.get('/kept')[2] != str(count).encode():
        assert all(thread.is_alive() for thread in threads), running.log
    return threads, answers


@pytest.mark.smoke
def test_greenlet_of_a_waiting_request_may_be_collected_by_another(server):
    running = server('greenlets.py')
    threads, answers = keeping(running, 10)
    assert running.get('/drop')[2] == b'False'
    for thread in threads:
        thread.join(30)
    assert answers == [b'False True'] * 10


def test_greenlet_of_a_waiting_request_is_not_switched_to_by_another(server):
    running = server('greenlets.py')
    threads, answers = keeping(running, 3)
    for n in range(3):
        assert b'different thread' in running.get(f'/switch?{n}')[2]
    running.get('/drop')
    for thread in threads:
        thread.join(30)
    assert answers == [b'False True'] * 3


@pytest.mark.parametrize('quantum', ['0.1', '10'])
def test_greenlets_of_many_requests_stay_apart(server, threaded_server, quantum):
    answers, _ = ask_at_once(server('greenlets.py', '--tornado-quantum', quantum), '/compute', 20)
    expected, _ = ask_at_once(threaded_server('greenlets.py'), '/compute', 20)
    assert answers == expected
