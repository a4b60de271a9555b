"""The spooler, mules, farms and threads beside a worker that runs the engine."""
import re

import pytest

from conftest import APPS, EMBEDDED

SPOOLER = [] if EMBEDDED else ['--plugin', 'spooler']
REQUESTS = 50


@pytest.fixture
def start(server, tmp_path):
    return lambda *options: server('background.py', '--master', *SPOOLER, '--spooler', str(tmp_path / 'spool'),
                                   '--spooler-frequency', '1', *options, cores=REQUESTS + 25)


def hand_over(running, path):
    """REQUESTS hand work over at once, with quick requests beside them."""
    results, _ = running.get_all([f'/{path}?{number}' for number in range(REQUESTS)] + ['/quick'] * 20)
    assert [body for _, _, body in results] == [b'handed'] * REQUESTS + [b'quick'] * 20


def assert_done(running, pattern):
    """Each number once."""
    running.wait_for_log(pattern, count=REQUESTS)
    assert sorted(int(number) for number in re.findall(pattern, running.log)) == list(range(REQUESTS))


@pytest.mark.smoke
def test_spooler(start):
    running = start()
    hand_over(running, 'hand_to_spooler')
    assert_done(running, r'spooler 0 did (\d+) well')


def test_mule_functions(start):
    running = start('--mule', '--mule')
    hand_over(running, 'hand_to_mule')
    assert_done(running, r'mule 1 did (\d+)')


def test_farm(start):
    mule = f'--mule={APPS / "farm_mule.py"}'
    running = start(mule, mule, '--farm', 'herd:1,2')
    hand_over(running, 'hand_to_farm')
    assert_done(running, r'mule [12] of the farm did (\d+)')


def test_postfork_and_threads_of_uwsgidecorators(start):
    running = start('--processes', '2')
    results, _ = running.get_all(['/postfork'] * 10 + [f'/beside?{n}' for n in range(REQUESTS)] + ['/quick'] * 20)
    assert [body for _, _, body in results] == [b'True'] * 10 + [b'real thread'] * REQUESTS + [b'quick'] * 20
