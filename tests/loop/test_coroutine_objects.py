"""What loop.sock_recv() and the like return is used as any coroutine. Those of asyncio's loop are the reference."""
import asyncio
import inspect
import sys
import weakref

import pytest


async def until_it_waits(loop, end):
    for _ in range(1000):
        if is_watched(loop, end):
            return
        await asyncio.sleep(0)
    raise AssertionError('it does not wait')


def is_watched(loop, end):
    try:
        return bool(loop._selector.get_key(end))
    except KeyError:
        return False


# --- Whoever awaits it ---------------------------------------------------------------------------

@pytest.mark.parametrize('how', ('ensure_future', 'gather', 'shield', 'wait_for', 'create_task', 'await', 'run_coroutine_threadsafe'))
def test_every_way_to_await_it(loop, pair, how):
    async def main():
        loop.call_later(0.001, pair[1].send, b'data')
        coroutine = loop.sock_recv(pair[0], 100)
        assert inspect.isawaitable(coroutine) and asyncio.iscoroutine(coroutine)
        if how == 'gather':
            return (await asyncio.gather(coroutine))[0]
        if how == 'wait_for':
            return await asyncio.wait_for(coroutine, 10)
        if how == 'await':
            return await coroutine
        if how == 'create_task':
            return await asyncio.create_task(coroutine)
        if how == 'run_coroutine_threadsafe':
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))
        return await getattr(asyncio, how)(coroutine)
    assert loop.run_until_complete(main()) == b'data'


def test_the_loop_runs_it_itself(loop, pair):
    pair[1].send(b'data')
    assert loop.run_until_complete(loop.sock_recv(pair[0], 100)) == b'data'


def test_it_is_awaited_by_two(loop, pair):
    """The second is refused, and does not end the wait of the first."""
    async def wait_for(coroutine):
        return await coroutine

    async def main():
        coroutine = loop.sock_recv(pair[0], 100)
        first = loop.create_task(wait_for(coroutine))
        await until_it_waits(loop, pair[0])
        with pytest.raises(RuntimeError, match='coroutine is being awaited already'):
            await coroutine
        pair[1].send(b'data')
        assert await asyncio.wait_for(first, 5) == b'data'
    loop.run_until_complete(main())


def test_two_tasks_of_it(loop, pair):
    """The first to be resumed gets the result."""
    async def main():
        coroutine = loop.sock_recv(pair[0], 100)
        tasks = [loop.create_task(coroutine), loop.create_task(coroutine)]
        await until_it_waits(loop, pair[0])
        await asyncio.sleep(0)
        pair[1].send(b'data')
        done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert done[0] == b'data' and 'cannot reuse already awaited coroutine' in str(done[1])
    loop.run_until_complete(main())


def test_its_name_is_shown(loop, pair):
    coroutine = loop.sock_recv(pair[0], 100)
    assert coroutine.__name__ == 'sock_recv' and coroutine.__qualname__.endswith('sock_recv')
    assert 'sock_recv' in repr(coroutine)

    async def main():
        task = loop.create_task(coroutine)
        assert 'sock_recv' in repr(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    loop.run_until_complete(main())


def test_weak_references(loop, pair):
    coroutine = loop.sock_recv(pair[0], 100)
    reference = weakref.ref(coroutine)
    coroutine.close()
    assert reference() is coroutine
    del coroutine
    assert reference() is None


# --- send(), throw(), close() --------------------------------------------------------------------

def test_nothing_can_be_sent_to_one_that_has_not_begun(loop, pair):
    coroutine = loop.sock_recv(pair[0], 100)
    with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
        coroutine.send(1)
    pair[1].send(b'data')
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    assert stopped.value.value == b'data'
    for act in (lambda: coroutine.send(None), lambda: coroutine.throw(LookupError)):
        with pytest.raises(RuntimeError, match='cannot reuse already awaited coroutine'):
            act()
    assert coroutine.close() is None


def raised_by(act):
    with pytest.raises(BaseException) as raised:
        act()
    return raised.value


@pytest.mark.parametrize('waits', (False, True))
def test_what_is_thrown(loop, pair, waits):
    def thrown(*arguments):
        coroutine = loop.sock_recv(pair[0], 100)
        if waits:
            coroutine.send(None)
        try:
            return raised_by(lambda: coroutine.throw(*arguments))
        finally:
            coroutine.close()
            if waits:
                loop.remove_reader(pair[0])

    async def main():
        given = LookupError('given')
        assert thrown(given) is given
        assert type(thrown(LookupError)) is LookupError
        assert thrown(LookupError, 'text').args == ('text',)
        assert thrown(LookupError, given, None) is given
        for wrong in ((), (1,), (int,), ('text', 'value')):
            assert type(thrown(*wrong)) is TypeError
        assert type(thrown(given, 'value')) is TypeError
        assert type(thrown(LookupError, None, 'no traceback')) is TypeError
        traceback = raised_by(lambda: 1 / 0).__traceback__
        shown, last = thrown(LookupError, None, traceback).__traceback__, None
        while shown is not None:
            last, shown = shown, shown.tb_next
        assert last.tb_frame is traceback.tb_frame or last.tb_next is traceback or last.tb_lineno
    loop.run_until_complete(main())


def test_wrong_arguments_of_throw_do_not_end_it(loop, pair):
    async def main():
        task_sees = loop.sock_recv(pair[0], 100)
        with pytest.raises(TypeError):
            task_sees.throw()
        pair[1].send(b'data')
        assert await task_sees == b'data'
    loop.run_until_complete(main())


def test_a_coroutine_that_awaits_it_is_closed(loop, pair):
    """Its wait is over, too: data that come are for the next."""
    async def outer():
        await loop.sock_recv(pair[0], 100)

    async def main():
        coroutine = outer()
        future = coroutine.send(None)
        assert asyncio.isfuture(future)
        coroutine.close()
        loop.remove_reader(pair[0])     # asyncio's own leaves it.
        pair[1].send(b'data')
        assert await loop.sock_recv(pair[0], 100) == b'data'
    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason='TaskGroup is of Python 3.11')
def test_a_group_cancels_it(loop, pair):
    async def fail():
        await until_it_waits(loop, pair[0])
        raise LookupError('failed')

    async def main():
        with pytest.raises(BaseExceptionGroup) as raised:
            async with asyncio.TaskGroup() as group:
                group.create_task(loop.sock_recv(pair[0], 100))
                group.create_task(fail())
        assert [type(one) for one in raised.value.exceptions] == [LookupError]
        assert not is_watched(loop, pair[0])
        pair[1].send(b'data')
        assert await loop.sock_recv(pair[0], 100) == b'data'
    loop.run_until_complete(main())
