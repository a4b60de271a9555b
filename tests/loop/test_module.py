"""The module uwsgi_tornado as a plain extension: import, run(), the policy."""
import asyncio
import contextvars
import re
import subprocess
import sys

import pytest
import uwsgi_tornado


def python(program):
    return subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=30)


def test_the_import_does_not_import_asyncio():
    done = python('import sys, uwsgi_tornado; dir(uwsgi_tornado); print("asyncio" in sys.modules)')
    assert done.stdout == 'False\n', done.stderr


def test_names_are_listed_and_documented():
    public = {name for name in dir(uwsgi_tornado) if not name.startswith('_')}
    assert {'EventLoop', 'EventLoopPolicy', 'Handle', 'TimerHandle', 'blocking_report', 'no_suspend', 'run'} <= public
    for name in public:
        assert getattr(uwsgi_tornado, name).__doc__
    for name in ('call_soon', 'call_later', 'call_at', 'add_reader', 'run_forever', 'stop', 'close', 'time'):
        assert getattr(uwsgi_tornado.EventLoop, name).__doc__ and getattr(uwsgi_tornado.EventLoop, name).__text_signature__
    with pytest.raises(AttributeError, match='no attribute'):
        uwsgi_tornado.nonsense


def test_run_returns_and_raises_and_uses_the_loop():
    async def main():
        await asyncio.sleep(0)
        return type(asyncio.get_running_loop()), asyncio.get_running_loop().get_debug()

    async def fail():
        raise ValueError('mine')
    assert uwsgi_tornado.run(main()) == (uwsgi_tornado.EventLoop, False)
    assert uwsgi_tornado.run(main(), debug=True) == (uwsgi_tornado.EventLoop, True)
    with pytest.raises(ValueError, match='mine'):
        uwsgi_tornado.run(fail())


def test_run_inside_a_running_loop_is_an_error():
    async def main():
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match='cannot be called from a running event loop'):
            uwsgi_tornado.run(coroutine)
        coroutine.close()
    asyncio.run(main())


def test_run_cancels_tasks_that_are_left():
    cancelled = []

    async def left():
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def main():
        asyncio.get_running_loop().task = asyncio.create_task(left())
        await asyncio.sleep(0)
    uwsgi_tornado.run(main())
    assert cancelled == [True]


def test_the_policy_makes_our_loops():
    done = python('''
import asyncio, uwsgi_tornado
asyncio.set_event_loop_policy(uwsgi_tornado.EventLoopPolicy())
async def main():
    return type(asyncio.get_running_loop()).__name__
print(asyncio.run(main()), asyncio.new_event_loop())
''')
    assert done.stdout == 'EventLoop <EventLoop running=False closed=False debug=False>\n', done.stderr


def test_a_program_that_ends_with_its_loop_open_ends_in_order():
    done = python('''
import asyncio, uwsgi_tornado
loop = uwsgi_tornado.EventLoop()
loop.call_soon(print, 1)
loop.call_later(10, print, 2)
loop.run_until_complete(asyncio.sleep(0))
''')
    assert (done.stdout, done.returncode) == ('1\n', 0), done.stderr


def test_the_loop_can_be_derived_from():
    class Mine(uwsgi_tornado.EventLoop):
        def __init__(self):
            super().__init__()
            self.tasks = 0

        def create_task(self, coroutine, **more):
            self.tasks += 1
            return super().create_task(coroutine, **more)
    loop = Mine()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert loop.tasks == 1


def test_tasks_are_made_as_asyncio_makes_them():
    """create_task() of this loop is C++ for plain tasks: it takes and refuses what asyncio's takes and refuses."""
    async def answers():
        return 1

    def outcomes(loop):
        def told(call):
            coroutine = answers()
            try:
                task = call(coroutine)
            except Exception as error:
                coroutine.close()
                return type(error), str(error).replace(type(loop).__name__, '')
            return type(task), re.sub(r'0x[0-9a-f]+|Task-[0-9]+', '-', repr(task)), loop.run_until_complete(task)

        def with_factory(coroutine, **more):
            loop.set_task_factory(lambda loop, coroutine, **more: asyncio.Task(coroutine, loop=loop, **more))
            try:
                return loop.create_task(coroutine, **more)
            finally:
                loop.set_task_factory(None)

        def in_debug_mode(coroutine):
            loop.set_debug(True)
            try:
                task = loop.create_task(coroutine)
                assert task._source_traceback[-1].name == 'in_debug_mode'
                return task
            finally:
                loop.set_debug(False)

        found = [told(call) for call in (
            loop.create_task, lambda it: loop.create_task(it, name='named'), lambda it: loop.create_task(coro=it), with_factory,
            lambda it: with_factory(it, name='named'), lambda it: loop.create_task(it, unknown=1), lambda it: loop.create_task(it, 1),
            lambda it: loop.create_task(it, loop=loop), lambda it: loop.create_task(answers), lambda it: loop.create_task(),
            lambda it: loop.create_task(it, **{f'unknown_{number}': number for number in range(20)}), in_debug_mode,
            lambda it: loop.create_task(it, name=None), lambda it: loop.create_task(it, eager_start=True))]
        loop.close()
        return [*found, told(loop.create_task)]

    ours, theirs = outcomes(uwsgi_tornado.EventLoop()), outcomes(asyncio.SelectorEventLoop())
    assert [one[0] for one in ours] == [one[0] for one in theirs]
    assert [one for one in ours if not issubclass(one[0], Exception)] == [one for one in theirs if not issubclass(one[0], Exception)]


@pytest.mark.skipif(sys.version_info < (3, 11), reason='tasks have no argument context')
def test_a_task_runs_in_the_context_it_is_given():
    variable = contextvars.ContextVar('variable')
    context = contextvars.copy_context()
    context.run(variable.set, 'given')

    async def read():
        return variable.get('none')

    async def main():
        loop = asyncio.get_running_loop()
        return [await loop.create_task(read()), await loop.create_task(read(), context=context)]
    assert uwsgi_tornado.run(main()) == ['none', 'given']


def test_functions_for_workers_do_nothing_without_one():
    with uwsgi_tornado.no_suspend():
        pass
    assert uwsgi_tornado.blocking_report() == {'objects': {}, 'unlisted': {}, 'suspended': {}, 'blocked': {}, 'preempted': 0}
