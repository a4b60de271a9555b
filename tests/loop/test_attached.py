"""A loop attached to an IoLoop that a host turns, as the worker's is. The host here is _Host."""
import asyncio
import os
import signal
import socket
import threading

import pytest
import uwsgi_tornado


class Host:
    def __init__(self):
        self.host = uwsgi_tornado._Host()
        self.loop = self.host.loop
        self.begin = self.host.begin
        self.end = self.host.end

    def turn(self):
        ticking = self.loop.call_later(0.005, int)  # A turn sleeps while there is nothing to do.
        self.host.turn()
        ticking.cancel()

    def turn_until(self, is_true, turns=10000):
        for _ in range(turns):
            if is_true():
                return
            self.turn()
        raise AssertionError('it never came true')

    def run(self, coroutine):
        task = self.loop.create_task(coroutine)
        self.turn_until(task.done)
        return task.result()


@pytest.fixture
def host():
    host = Host()
    yield host
    if host.loop.is_running():
        host.end()
    host.loop.close()
    del host.loop


@pytest.fixture
def running(host):
    host.begin()
    return host


def test_it_is_running_between_begin_and_end(host):
    assert not host.loop.is_running()
    host.begin()
    assert host.loop.is_running() and asyncio.get_running_loop() is host.loop
    host.end()
    assert not host.loop.is_running() and asyncio._get_running_loop() is None


def test_run_forever_says_that_it_runs_already(running):
    with pytest.raises(RuntimeError, match='already running'):
        running.loop.run_forever()
    coroutine = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match='already running'):
        running.loop.run_until_complete(coroutine)
    coroutine.close()


def test_before_begin_it_can_be_run_by_hand_as_a_module_does_at_import(host):
    assert host.loop.run_until_complete(asyncio.sleep(0.01, 'slept')) == 'slept'
    assert host.loop.run_until_complete(host.loop.run_in_executor(None, lambda: 'thread')) == 'thread'
    host.begin()
    assert host.run(asyncio.sleep(0.01, 'slept')) == 'slept'
    host.run(host.loop.shutdown_default_executor())


def test_what_was_scheduled_before_begin_runs_after(host):
    seen = []
    host.loop.call_soon(seen.append, 'soon')
    host.loop.call_later(0, seen.append, 'later')
    host.begin()
    host.turn_until(lambda: len(seen) == 2)
    assert sorted(seen) == ['later', 'soon']


def test_callbacks_of_one_turn_run_in_one_turn_and_what_they_add_in_the_next(running):
    seen = []

    def first():
        seen.append('first')
        running.loop.call_soon(seen.append, 'next turn')
    running.loop.call_soon(first)
    running.loop.call_soon(seen.append, 'second')
    running.turn()
    assert seen == ['first', 'second']
    running.turn()
    assert seen == ['first', 'second', 'next turn']


def test_timers_fire(running):
    seen = []
    running.loop.call_later(0.02, seen.append, 'late')
    running.loop.call_later(0.005, seen.append, 'early')
    running.loop.call_later(0.001, seen.append, 'never').cancel()
    running.turn_until(lambda: len(seen) == 2, turns=100)
    assert seen == ['early', 'late']


def test_a_timer_added_by_a_timer_fires(running):
    seen = []
    running.loop.call_later(0.001, running.loop.call_later, 0.001, seen.append, 'second')
    running.turn_until(lambda: seen, turns=100)


def test_readers_and_writers(running):
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)

    async def talk():
        await running.loop.sock_sendall(a, b'ping')
        return await running.loop.sock_recv(b, 10)
    assert running.run(talk()) == b'ping'
    with a, b:
        pass


def test_streams_and_processes(running):
    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    async def main():
        async with await asyncio.start_server(echo, '127.0.0.1', 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b'line\n')
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
        child = await asyncio.create_subprocess_shell('exit 5')
        return line, await child.wait()
    assert running.run(main()) == (b'line\n', 5)


def test_another_thread_wakes_the_host(running):
    seen = []
    thread = threading.Timer(0.02, running.loop.call_soon_threadsafe, (seen.append, 'woken'))
    thread.start()
    running.turn_until(lambda: seen, turns=100)
    thread.join()


def test_callbacks_from_eight_threads_all_arrive(running):
    seen = []

    def send():
        for _ in range(500):
            running.loop.call_soon_threadsafe(seen.append, 1)
    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    guard = running.loop.call_later(20, seen.extend, [0] * 4000)
    running.turn_until(lambda: len(seen) >= 4000)
    guard.cancel()
    for thread in threads:
        thread.join()
    assert len(seen) == 4000


@pytest.mark.parametrize('ending', [SystemExit, KeyboardInterrupt])
def test_an_exit_in_a_callback_is_told_to_the_host_and_the_rest_goes_on(running, ending):
    seen = []

    def leave():
        raise ending
    running.loop.call_soon(leave)
    running.loop.call_soon(seen.append, 'after')
    running.turn_until(lambda: seen, turns=100)
    assert running.host.exits() == [ending]


def test_errors_go_to_the_exception_handler(running):
    told = []
    running.loop.set_exception_handler(lambda loop, context: told.append(type(context['exception'])))
    running.loop.call_soon(lambda: 1 / 0)
    running.turn()
    assert told == [ZeroDivisionError]


def wakeup_fd():
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


def test_it_has_the_wake_up_descriptor_while_it_runs_whatever_handlers_come_and_go(host):
    host.begin()
    kept = wakeup_fd()
    assert kept >= 0
    host.loop.add_signal_handler(signal.SIGUSR1, print)
    assert host.loop.remove_signal_handler(signal.SIGUSR1)
    assert wakeup_fd() == kept
    with pytest.raises(RuntimeError, match='cannot be caught'):
        host.loop.add_signal_handler(signal.SIGKILL, print)
    assert wakeup_fd() == kept
    host.end()
    assert wakeup_fd() == -1


def test_a_signal_handler_of_the_loop_runs(running):
    seen = []
    running.loop.add_signal_handler(signal.SIGUSR1, seen.append, 'signal')
    os.kill(os.getpid(), signal.SIGUSR1)
    running.turn_until(lambda: seen, turns=100)
    running.loop.remove_signal_handler(signal.SIGUSR1)
