"""Subprocesses."""
import asyncio
import sys
import threading

import pytest


@pytest.fixture
def child_watcher(loop_type):
    """asyncio's loop starts a thread for each child, which may end a little after it."""
    yield
    if loop_type is asyncio.SelectorEventLoop:
        for thread in threading.enumerate():
            if 'waitpid' in thread.name:
                thread.join()


@pytest.mark.parametrize('code', [0, 3])
def test_a_child_talks_and_its_exit_code_is_known(loop, child_watcher, code):
    async def main():
        child = await asyncio.create_subprocess_exec(
            sys.executable, '-c', f'import sys; print(sys.stdin.read()[::-1], end=""); sys.exit({code})',
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        output, _ = await child.communicate(b'abc')
        return output, child.returncode
    assert loop.run_until_complete(main()) == (b'cba', code)


def test_a_killed_child_says_by_which_signal(loop, child_watcher):
    async def main():
        child = await asyncio.create_subprocess_exec('sleep', '100')
        child.kill()
        return await child.wait()
    assert loop.run_until_complete(main()) == -9


def test_a_program_that_does_not_exist(loop, child_watcher):
    with pytest.raises(FileNotFoundError):
        loop.run_until_complete(asyncio.create_subprocess_exec('/no/such/program'))


def test_many_children_at_once(loop, child_watcher):
    async def one(number):
        child = await asyncio.create_subprocess_shell(f'exit {number}')
        return await child.wait()

    async def main():
        return await asyncio.gather(*(one(number) for number in range(20)))
    assert loop.run_until_complete(main()) == list(range(20))


def test_waiting_for_a_child_needs_no_thread_and_no_signal(loop, loop_type, child_watcher):
    if loop_type is asyncio.SelectorEventLoop:
        pytest.skip("asyncio's own loop has a thread for each child up to CPython 3.11")

    async def main():
        child = await asyncio.create_subprocess_exec('sleep', '0.05')
        threads = threading.active_count()
        await child.wait()
        return threads
    assert loop.run_until_complete(main()) == 1


def test_loops_of_other_threads_have_children_too(new_loop, child_watcher):
    async def main():
        child = await asyncio.create_subprocess_shell('echo hi; exit 4', stdout=asyncio.subprocess.PIPE)
        return (await child.communicate())[0], child.returncode
    seen = []
    loop = new_loop()
    thread = threading.Thread(target=lambda: seen.append(loop.run_until_complete(main())))
    thread.start()
    thread.join()
    assert seen == [(b'hi\n', 4)]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason='CPython 3.14 has no child watchers')
def test_a_child_watcher_of_the_program_is_used(run_python):
    done = run_python('''
class Watcher(asyncio.ThreadedChildWatcher.__base__):
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def is_active(self): return False
    def attach_loop(self, loop): pass
    def close(self): pass
asyncio.set_child_watcher(Watcher())
loop = make_loop()
try:
    loop.run_until_complete(asyncio.create_subprocess_exec('true'))
except RuntimeError as error:
    print(error)
loop.close()
''')
    assert 'is not activated' in done.stdout, done.stderr
