"""Other threads: call_soon_threadsafe, the executor, the GIL."""
import asyncio
import threading

import pytest


def test_callbacks_from_eight_threads_all_arrive_each_in_its_order(loop):
    threads, each, seen = 8, 2000, []

    def send(sender):
        for number in range(each):
            loop.call_soon_threadsafe(receive, sender, number)

    def receive(sender, number):
        seen.append((sender, number))
        if len(seen) == threads * each:
            loop.stop()
    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(threads)]
    for thread in senders:
        thread.start()
    loop.run_forever()
    for thread in senders:
        thread.join()
    for sender in range(threads):
        assert [number for who, number in seen if who == sender] == list(range(each))


def test_a_loop_that_sleeps_wakes_for_another_thread(loop):
    asleep = threading.Event()

    def wake():
        asleep.wait()
        loop.call_soon_threadsafe(loop.stop)
    thread = threading.Thread(target=wake)
    thread.start()
    guard = loop.call_later(20, pytest.fail, 'it did not wake')
    loop.call_soon(asleep.set)
    loop.run_forever()
    guard.cancel()
    thread.join()


def test_threads_run_while_the_loop_sleeps(loop):
    async def main():
        return await asyncio.gather(*(loop.run_in_executor(None, sum, range(1000)) for _ in range(20)))
    assert loop.run_until_complete(main()) == [499500] * 20


def test_coroutines_can_be_sent_to_a_loop_of_another_thread(loop):
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    future = asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01, 'slept'), loop)
    assert future.result(10) == 'slept'
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def test_debug_mode_refuses_other_threads(loop):
    loop.set_debug(True)
    caught = []

    def misuse():
        for call in (lambda: loop.call_soon(print), lambda: loop.call_later(1, print)):
            try:
                call()
            except RuntimeError as error:
                caught.append('Non-thread-safe' in str(error))

    async def main():
        thread = threading.Thread(target=misuse)
        thread.start()
        thread.join()
    loop.run_until_complete(main())
    assert caught == [True, True]


def test_call_soon_threadsafe_on_a_closed_loop_is_an_error(loop):
    loop.close()
    with pytest.raises(RuntimeError, match='Event loop is closed'):
        loop.call_soon_threadsafe(print)
