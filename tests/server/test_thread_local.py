"""To C code, too, a request is a thread: it has thread-locals of its own, and what it waits for in C stops no other request."""
import collections
import concurrent.futures
import random
import re

import pytest

from overlap import ask_at_once

REQUESTS = 50
QUANTA_MS = [1, 10]
ANSWERS = [f'{number} right' for number in range(REQUESTS)]


@pytest.fixture(params=QUANTA_MS)
def canary_server(request, server, canaries):
    return server('native_canaries.py', '--tornado-quantum', str(request.param), '--tornado-client-disconnect', cores=60,
                  environ={'CANARIES': canaries, 'QUANTUM_MS': str(request.param)})


def assert_all_right(running):
    answers, _ = ask_at_once(running, '/run', REQUESTS)
    assert answers == ANSWERS
    assert 'WRONG' not in running.log


def leave(running, path, after_s):
    with running.connect() as connection:
        connection.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
        connection.settimeout(after_s)
        try:
            connection.recv(1)
        except TimeoutError:
            pass


def test_nothing_of_a_request_is_anothers_in_cxx_and_rust(canary_server):
    assert_all_right(canary_server)
    chance = random.Random(1)
    with concurrent.futures.ThreadPoolExecutor(REQUESTS) as pool:  # Clients that leave in the middle.
        list(pool.map(lambda number: leave(canary_server, f'/run?{number}', 0.3 * chance.random()), range(100, 120)))
    assert_all_right(canary_server)


def test_the_same_is_right_under_threads(threaded_server, canaries):
    assert_all_right(threaded_server('native_canaries.py', threads=20, environ={'CANARIES': canaries, 'QUANTUM_MS': '1'}))


def test_destructors_of_a_spawned_function_find_its_own_data(server, threaded_server, canaries):
    ends = server('native_canaries.py', environ={'CANARIES': canaries}).get('/ends')[2]
    assert ends == threaded_server('native_canaries.py', environ={'CANARIES': canaries}).get('/ends')[2]
    assert b'False' not in ends


def test_destructors_find_their_own_data_as_the_worker_ends(server, canaries):
    running = server('native_canaries.py', cores=60, environ={'CANARIES': canaries, 'NO_THREAD': '1'})
    running.get('/say_ends')
    answers, _ = ask_at_once(running, '/run/local_constructed', REQUESTS)
    assert answers == ANSWERS
    running.drain()
    ends = collections.Counter(map(int, re.findall(r'^ended (-?\d+)$', running.log, re.M)))
    assert ends and all(1 <= own <= REQUESTS for own in ends), ends
    assert len(set(ends.values())) == 1, ends  # As often for each core: once in each library.
