"""--tornado-block-warn names who holds the loop, with its Python stack, once for each time."""
import re

import pytest

WARN = ['--tornado-block-warn', '100']
WARNING = r'tornado: (.*) has held the loop for (\d+\.\d{3}) s without giving way; its Python stack:\n'
END = r'tornado: (.*) held the loop for (\d+\.\d{3}) s\n'


def warnings(running):
    return re.findall(WARNING, running.log)


def ends(running):
    return re.findall(END, running.log)


@pytest.fixture
def start(server):
    return lambda *options, **more: server('loop_held.py', *(options or WARN), **more)


@pytest.mark.smoke
@pytest.mark.parametrize('where', ['in_native_call', 'in_library', 'in_c_code'])
def test_request_that_holds_the_loop_is_named_once(start, where):
    running = start()
    assert running.get(f'/{where}?700')[2] == b'done'
    running.wait_for_log(END)
    (name, first), = warnings(running)
    assert re.fullmatch(rf'GET /{where}\?700 on core \d+', name) and float(first) >= 0.1
    (same, whole), = ends(running)
    assert same == name and 0.6 <= float(whole) and float(first) <= float(whole)
    stack = running.log[running.log.index('its Python stack:'):]
    assert f'in {where}\n' in stack and 'in application\n' in stack


def test_each_that_holds_the_loop_is_named(start):
    running = start()
    running.get_all(['/in_native_call?300', '/in_native_call?301'])
    running.wait_for_log(END, count=2)
    assert sorted(re.search(r'\d+ on', name)[0] for name, _ in warnings(running)) == ['300 on', '301 on']


def test_callback_that_holds_the_loop_is_seen(start):
    running = start()
    running.get('/in_callback?500')
    running.wait_for_log(END)
    assert [name for name, _ in warnings(running)] == ["a callback of the loop"]
    assert 'in coroutine\n' in running.log


def test_thread_that_keeps_the_gil_is_told_from_a_request(start):
    running = start()
    running.get('/in_thread?700')
    running.wait_for_log("another thread's code held the loop for")
    assert "another thread's code has kept the GIL from the loop for" in running.log and warnings(running) == []


def test_request_that_computes_gives_way(start):
    running = start()
    running.get('/in_python?600')
    assert warnings(running) == []


def test_request_that_computes_without_a_quantum_holds_the_loop(start):
    running = start(*WARN, '--tornado-quantum', '0')
    running.get('/in_python?600')
    running.wait_for_log(END)
    assert len(warnings(running)) == 1 and 'in in_python\n' in running.log


def test_loop_that_sleeps_or_takes_turns_is_not_held(start):
    running = start()
    running.get('/sleeping?700')
    running.get_all(['/in_turns?500', '/quick'])
    assert warnings(running) == ends(running) == []


def test_nobody_is_named_without_the_option(server):
    running = server('loop_held.py')
    running.get('/in_native_call?300')
    assert running.get('/quick')[0] == 200 and 'held the loop' not in running.log
