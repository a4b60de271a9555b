"""The caching framework: another uWSGI's cache holds up whoever asks it, the worker's own nobody."""
import contextlib
import socket

import pytest

from conftest import APPS, EMBEDDED
from overlap import QUICK, WAITING, answers_beside, assert_far_below_serial
from services import free_port

CORES = WAITING + QUICK + 5
CACHE = ['--cache2', 'name=here,items=2000', '--cache2', 'name=large,items=10,blocksize=65536,blocks=20,bitmap=1']
# Debian has it as a file; the embedded binary has it inside.
SERVES = [*CACHE, *([] if EMBEDDED else ['--plugin', 'cache'])]
EVERY_FUNCTION = b"[True, None, b'1', True, b'3', True, None, None, True, None, None, True, 77, True, None]"


@pytest.fixture
def start(server):
    return lambda *options, **more: server('cache.py', *options, cores=CORES, **more)


@pytest.mark.smoke
def test_remote_cache_holds_nobody_up(start, held_line):
    """Each request sets and gets what is its own; the answers come when they are released."""
    line = held_line(start(*SERVES, protocol='uwsgi-socket').port)
    answers = answers_beside(start(), [f'/set_and_get?here@127.0.0.1:{line.port},{n},v{n}' for n in range(WAITING)],
                             waiting=lambda: line.held, release=line.release)
    assert answers == [f"(True, b'v{n}')".encode() for n in range(WAITING)]


def test_every_function_of_the_remote_cache(start, tmp_path):
    """They answer as the local one's; a server says that something is not there by hanging up."""
    path = str(tmp_path / 'cache')
    running = start(*SERVES, '--socket', path)
    local, remote = (running.get(f'/every_function?{name}')[2] for name in ('here', f'here@{path}'))
    assert local == remote == EVERY_FUNCTION
    assert running.get(f'/large?large@{path}')[2] == b'(True, True)'


def test_remote_caches_that_do_not_answer(start):
    running = start('--socket-timeout', '1')
    with contextlib.closing(socket.create_server(('127.0.0.1', 0), backlog=WAITING)) as silent:
        asked = [f'/set_and_get?here@127.0.0.1:{silent.getsockname()[1]},key,value'] * WAITING
        asked += [f'/set_and_get?here@127.0.0.1:{free_port()},key,value', '/set_and_get?nowhere,key,value']
        results, seconds = running.get_all(asked + ['/'] * QUICK)
    assert [r[2] for r in results] == [b'(None, None)'] * len(asked) + [b'hello'] * QUICK
    assert_far_below_serial(seconds, WAITING, 2)


def test_requests_count_exactly(start):
    """50 in two workers at once, and threads of the application beside them."""
    running = start(*CACHE, '--master', '--processes', '2')
    results, _ = running.get_all(['/inc?requests'] * WAITING + ['/'] * QUICK)
    assert [r[2] for r in results] == [b'counted'] * WAITING + [b'hello'] * QUICK
    assert running.get('/num?requests')[2] == b'%d' % (20 * WAITING)
    assert running.get('/busy')[2] == b'100'


def test_cache_locked_by_another_process_holds_nobody_else_up(start):
    """As it would be by one that was stopped in the middle of a look."""
    running = start(*CACHE, '--master', '--mule=' + str(APPS / 'lock_holder.py'))
    running.get('/tell_mule?lock-cache')
    running.wait_for_log('mule has done: lock cache')
    answers = answers_beside(running, [f'/write?{n}' for n in range(WAITING)],
                             waiting=lambda: int(running.get('/wanting')[2]),
                             release=lambda: running.get('/tell_mule?unlock-cache'))
    assert answers == [b'True'] * WAITING
    assert len(eval(running.get('/keys')[2])) == WAITING
