"""RPC to others and to oneself, and uWSGI's own client sockets: whoever waits for an answer, waits alone."""
import contextlib
import socket

import pytest

from conftest import EMBEDDED
from overlap import QUICK, WAITING, answers_beside, assert_far_below_serial
from services import free_port

CORES = WAITING + QUICK + 5
# Debian has it as a file; the embedded binary has it inside.
RPC = [] if EMBEDDED else ['--plugin', 'rpc']


@pytest.fixture
def start(server):
    return lambda *options, cores=CORES, **more: server('rpc.py', *RPC, *options, cores=cores, **more)


def beside(running, paths):
    return answers_beside(running, paths, waiting=lambda: int(running.get('/count')[2]),
                          release=lambda: running.get('/release'))


@pytest.mark.smoke
def test_remote_calls_hold_nobody_up(start, held_line):
    """The caller's worker serves others until the answers are released."""
    callee = start(protocol='uwsgi-socket')
    line = held_line(callee.port)
    running = start()
    answers = answers_beside(running, [f'/call?127.0.0.1:{line.port},join,a,{n}' for n in range(WAITING)],
                             waiting=lambda: line.held, release=line.release)
    assert answers == [f'a-{n}'.encode() for n in range(WAITING)]


def test_called_worker_serves_others_meanwhile(start, tmp_path):
    """The callee too: its functions wait, for all who call it over its socket."""
    path = str(tmp_path / 'rpc')
    running = start('--socket', path, cores=2 * WAITING + QUICK)
    assert beside(running, [f'/call?{path},held,{n}' for n in range(WAITING)]) == \
        [str(n).encode() for n in range(WAITING)]


def test_local_calls_hold_nobody_up(start):
    running = start()
    assert beside(running, [f'/call?,held,a,{n}' for n in range(WAITING)]) == [b'a-%d' % n for n in range(WAITING)]
    assert running.get('/call_as_text?,join,x,y')[2] == b'x-y'


def test_large_answers(start, tmp_path):
    """Beyond 64 KiB uWSGI announces the size before the answer."""
    path = str(tmp_path / 'rpc')
    start('--socket', path)
    running = start()
    sizes = [65535, 65536, 1_000_000]
    results, _ = running.get_all([f'/large?{path},{size}' for size in sizes])
    assert [r[2] for r in results] == [b'%d {120}' % size for size in sizes]
    assert running.get(f'/call_as_text?{path},join,x,y')[2] == b'x-y'


def test_calls_that_get_no_answer(start, tmp_path):
    """An unknown or empty function, a node that is none, one that hangs up, one that never answers."""
    path = str(tmp_path / 'rpc')
    start('--socket', path)
    running = start('--socket-timeout', '1')
    with contextlib.closing(socket.create_server(('127.0.0.1', 0), backlog=WAITING)) as silent:
        nodes = [f'{path},unknown', f'{path},empty', '/no/socket,join', f'127.0.0.1:{free_port()},join', ',unknown']
        paths = [f'/call?{node}' for node in nodes] + [f'/call?127.0.0.1:{silent.getsockname()[1]},join'] * WAITING
        results, seconds = running.get_all(paths + ['/'] * QUICK)
    assert [r[2] for r in results] == [b'None'] * len(paths) + [b'hello'] * QUICK
    assert_far_below_serial(seconds, WAITING, 1)


@pytest.mark.smoke
def test_connect_send_and_recv_hold_nobody_up(start, held_line, pages):
    line = held_line(int(pages.rsplit(':', 1)[1]))
    answers = answers_beside(start(), [f'/fetch?127.0.0.1:{line.port}'] * WAITING,
                             waiting=lambda: line.held, release=line.release)
    assert answers == [b'True True 200 True'] * WAITING


def test_connects_to_a_host_that_does_not_answer_overlap(start):
    running = start()
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(('127.0.0.1', 0), backlog=0))
        address = full.getsockname()
        for _ in range(3):  # Its queue is full: a connection to it waits.
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        port = address[1]
        results, seconds = running.get_all([f'/connect?127.0.0.1:{port},1'] * WAITING + ['/'] * QUICK)
        assert [r[2] for r in results] == [b'-1'] * WAITING + [b'hello'] * QUICK
        assert_far_below_serial(seconds, WAITING, 1)
    assert running.get(f'/connect?127.0.0.1:{port},1')[2] == b'-1'  # Refused.


@pytest.mark.parametrize('kind', ['socket', 'pipe'])
def test_send_to_a_reader_that_is_slow_holds_nobody_up(start, kind):
    assert beside(start(), [f'/send_much?{kind}'] * WAITING) == [b'True True'] * WAITING


@pytest.mark.parametrize('kind', ['socket', 'pipe'])
def test_recv_from_a_silent_peer_holds_nobody_up(start, kind):
    assert beside(start(), [f'/receive?{kind}'] * WAITING) == [b"(b'0123', b'456789', None)"] * WAITING


def test_descriptors_that_do_not_block_are_not_waited_for(start):
    assert start().get('/nonblocking')[2] == b"(None, b'x', True, b'y', None)"


def test_client_sockets_outside_any_request(start):
    assert start().get('/at_import')[2] == b'(-1, None, None)'
