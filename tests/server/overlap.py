"""Many requests at once that wait in a driver: right answers, far sooner than in turn."""
import concurrent.futures
import time

import pytest

REQUESTS = 100
WAIT_S = 0.2
WAITING, QUICK = 50, 20


def ask_at_once(running, path, count=REQUESTS):
    """The answers to path?0, path?1 ... asked at once, as text, and the seconds they took."""
    results, seconds = running.get_all([f'{path}?{n}' for n in range(count)])
    wrong = [result for result in results if isinstance(result, Exception) or result[0] != 200]
    if wrong:
        log = [line for line in running.log.splitlines() if not line.startswith('[pid:')]
        pytest.fail(f'{len(wrong)} of {count} failed, the first with {wrong[0]!r}:\n' + '\n'.join(log[-60:]))
    return [result[2].decode() for result in results], seconds


def assert_far_below_serial(seconds, waits=REQUESTS, wait_s=WAIT_S):
    # In turn they take no less than all their waits; the rest is room for a loaded machine.
    assert seconds < waits * wait_s / 3


def assert_overlap(running, path, answer, waits_each=1):
    """REQUESTS at once to `path`, each waiting WAIT_S; request n must answer answer(n)."""
    answers, seconds = ask_at_once(running, path)
    assert answers == [answer(n) for n in range(REQUESTS)]
    assert_far_below_serial(seconds, REQUESTS * waits_each)


def numbered(answers):
    """The columns of the answers after the first, which must be the number of the request."""
    numbers, *columns = zip(*(answer.split() for answer in answers))
    assert list(numbers) == [str(n) for n in range(len(answers))]
    return columns


def is_one_to_one(pairs):
    """Whether nothing is in two of the pairs: a connection and the thread that keeps it."""
    pairs = set(pairs)
    return all(len(set(column)) == len(pairs) for column in zip(*pairs))


def wait_until(happens, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < deadline, 'it has not happened'
        time.sleep(0.005)  # A poll of the condition, not a guess at its time.


def answers_beside(running, paths, waiting, release, quick='/'):
    """The bodies of `paths`, asked at once. All wait until release(), as waiting() counts them,
    and meanwhile QUICK others are answered."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(running.get_all, paths)
        wait_until(lambda: waiting() == len(paths) or asked.done())
        results, _ = running.get_all([quick] * QUICK)
        assert [r[0] for r in results] == [200] * QUICK
        assert waiting() == len(paths), asked.result(60)[0]
        release()
        results, _ = asked.result(60)
        assert [r[0] for r in results] == [200] * len(paths), results
        return [r[2] for r in results]
