"""run_forever, run_until_complete, stop, close, nesting, Ctrl-C, fork."""
import asyncio
import os
import signal
import threading

import pytest


async def nothing():
    return 'done'


def test_run_until_complete_returns_and_raises(loop):
    async def fail():
        raise ValueError('mine')
    assert loop.run_until_complete(nothing()) == 'done'
    with pytest.raises(ValueError, match='mine'):
        loop.run_until_complete(fail())
    assert not loop.is_running()


def test_a_stopped_loop_can_run_again(loop):
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert not loop.is_running()


def test_stopping_before_the_future_is_done_is_an_error(loop):
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match='stopped before Future completed'):
        loop.run_until_complete(loop.create_future())


def test_the_running_loop_is_known_while_it_runs(loop):
    async def look():
        return asyncio.get_running_loop(), loop.is_running()
    assert loop.run_until_complete(look()) == (loop, True)
    with pytest.raises(RuntimeError, match='no running event loop'):
        asyncio.get_running_loop()


def test_a_running_loop_cannot_be_run(loop):
    async def nested():
        with pytest.raises(RuntimeError, match='already running'):
            loop.run_forever()
        coroutine = nothing()
        with pytest.raises(RuntimeError, match='already running'):
            loop.run_until_complete(coroutine)
        coroutine.close()
    loop.run_until_complete(nested())


def test_another_loop_cannot_run_inside(loop, new_loop):
    other = new_loop()

    async def nested():
        with pytest.raises(RuntimeError, match='while another loop is running'):
            other.run_forever()
    loop.run_until_complete(nested())


def test_a_running_loop_cannot_be_closed(loop):
    async def close():
        with pytest.raises(RuntimeError, match='Cannot close a running event loop'):
            loop.close()
    loop.run_until_complete(close())


def test_a_closed_loop_refuses_everything(loop):
    loop.close()
    loop.close()
    assert loop.is_closed()
    for call in (lambda: loop.call_soon(print), lambda: loop.call_later(1, print), lambda: loop.call_at(1, print),
                 lambda: loop.call_soon_threadsafe(print), lambda: loop.add_reader(0, print), loop.run_forever):
        with pytest.raises(RuntimeError, match='Event loop is closed'):
            call()
    assert loop.remove_reader(0) is False


def test_callbacks_left_at_close_are_not_called(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    timer = loop.call_later(0, seen.append, 2)
    loop.close()
    timer.cancel()
    assert seen == []


def test_many_loops_live_side_by_side(new_loop):
    loops = [new_loop() for _ in range(20)]
    seen = []

    def run(loop):
        seen.append(loop.run_until_complete(asyncio.sleep(0.01, 'slept')))
    threads = [threading.Thread(target=run, args=(loop,)) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ['slept'] * 20


def test_async_generators_are_closed_with_the_loop(loop):
    closed = []

    async def generate():
        try:
            yield 1
        finally:
            closed.append(True)

    async def begin():
        generators.append(generate())
        await generators[0].__anext__()
    generators = []
    loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert closed == [True]


def test_ctrl_c_ends_a_loop_that_sleeps(run_python):
    done = run_python('''
import os, signal, threading
loop = make_loop()
loop.call_soon(lambda: threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start())
loop.call_later(20, loop.stop)
try:
    loop.run_forever()
except KeyboardInterrupt:
    print('interrupted', loop.is_running())
loop.run_until_complete(asyncio.sleep(0))
loop.close()
''')
    assert done.stdout == 'interrupted False\n', done.stderr


def test_ctrl_c_ends_a_loop_that_sleeps_once_its_own_handlers_are_removed(run_python):
    done = run_python('''
import os, signal, threading
loop = make_loop()
def interrupt():
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.remove_signal_handler(signal.SIGUSR1)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
loop.call_soon(interrupt)
loop.call_later(20, loop.stop)
try:
    loop.run_forever()
except KeyboardInterrupt:
    print('interrupted')
loop.close()
''')
    assert done.stdout == 'interrupted\n', done.stderr


def test_ctrl_c_cancels_the_main_task_of_a_runner(run_python):
    done = run_python('''
import os, signal, threading
async def main():
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        await asyncio.sleep(20)
    except asyncio.CancelledError:
        print('cancelled')
        raise
try:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())
except KeyboardInterrupt:
    print('interrupted')
''')
    assert done.stdout == 'cancelled\ninterrupted\n', done.stderr


def test_signal_handlers_run_in_the_loop(loop):
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, lambda *args: (seen.append(args), loop.stop()), 1, 2)
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    assert seen == [(1, 2)]
    assert loop.remove_signal_handler(signal.SIGUSR1) and not loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_signal_between_two_runs_is_handled_in_the_second(loop):
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 'signal')
    loop.run_until_complete(nothing())
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run_until_complete(asyncio.sleep(0.01))
    assert seen == ['signal']


def test_the_wake_up_descriptor_is_given_back(loop):
    loop.run_until_complete(nothing())
    assert signal.set_wakeup_fd(-1) == -1


def test_a_wake_up_descriptor_of_the_program_stays(loop):
    reading, writing = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(writing)
    try:
        loop.run_until_complete(nothing())
    finally:
        assert signal.set_wakeup_fd(-1) == writing
        os.close(reading)
        os.close(writing)


def test_a_forked_child_can_run_a_loop_of_its_own_and_the_parent_goes_on(run_python):
    done = run_python('''
import os, sys
loop = make_loop()
async def main():
    child = os.fork()
    if child == 0:
        own = make_loop()
        asyncio._set_running_loop(None)
        sys.stdout.write(own.run_until_complete(asyncio.sleep(0.01, 'child ')))
        sys.stdout.flush()
        os._exit(0)
    await asyncio.sleep(0.05)
    assert os.waitpid(child, 0)[1] == 0
    return 'parent'
print(loop.run_until_complete(main()))
loop.close()
''')
    assert done.stdout == 'child parent\n', done.stderr


def test_a_loop_made_before_a_fork_serves_in_the_child(run_python):
    done = run_python('''
import os, socket, sys
loop = make_loop()
loop.run_until_complete(asyncio.sleep(0))
child = os.fork()
async def echo():
    a, b = socket.socketpair()
    a.setblocking(False), b.setblocking(False)
    await loop.sock_sendall(a, b'ping')
    return (await loop.sock_recv(b, 10)).decode()
answer = loop.run_until_complete(echo())
if child == 0:
    os._exit(0 if answer == 'ping' else 1)
print(answer, os.waitpid(child, 0)[1])
''')
    assert done.stdout == 'ping 0\n', done.stderr
