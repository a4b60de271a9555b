"""What is freed when. The fixture nothing_is_left looks after every other test as well."""
import gc
import os
import subprocess
import warnings
import weakref

import pytest
import uwsgi_tornado


class Thing:
    def method(self):
        pass


def test_a_cancelled_timer_is_freed_at_once():
    loop = uwsgi_tornado.EventLoop()
    thing = Thing()
    seen = weakref.ref(thing)
    gone = weakref.ref(loop.call_later(1000, thing.method))
    before = uwsgi_tornado._live()['handles']
    gone().cancel()
    del thing
    assert gone() is None and seen() is None
    assert uwsgi_tornado._live()['handles'] == before - 1
    loop.close()


def test_a_callback_is_freed_once_it_ran(loop):
    thing = Thing()
    seen = weakref.ref(thing)
    loop.call_soon(thing.method)
    loop.call_later(0, thing.method)
    del thing
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert seen() is None


def test_closing_drops_callbacks(loop):
    thing = Thing()
    seen = weakref.ref(thing)
    loop.call_soon(thing.method)
    loop.call_later(10, thing.method)
    del thing
    loop.close()
    gc.collect()
    assert seen() is None


def test_a_loop_that_is_forgotten_is_collected_with_all_it_holds(loop_type):
    thing = Thing()
    seen = weakref.ref(thing)
    loop = loop_type()
    loop.thing = thing
    loop.call_soon(thing.method)
    thing.handle = loop.call_later(10, thing.method)
    reading, writing = os.pipe()
    loop.add_reader(reading, thing.method)
    del thing, loop
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        gc.collect()
    assert any('unclosed event loop' in str(warning.message) for warning in caught)
    assert seen() is None
    for fd in (reading, writing):
        os.close(fd)


def test_a_loop_that_made_a_future_after_its_end_is_collected(loop_type):
    loop = loop_type()
    loop.close()
    assert loop.create_future().get_loop() is loop
    seen = weakref.ref(loop)
    del loop
    gc.collect()
    assert seen() is None


def test_a_handle_in_a_cycle_is_collected(loop):
    thing = Thing()
    thing.handle = loop.call_soon(thing.method)
    seen = weakref.ref(thing)
    del thing
    loop.call_soon(loop.stop)
    loop.run_forever()
    gc.collect()
    assert seen() is None


def test_handles_survive_their_loop():
    loop = uwsgi_tornado.EventLoop()
    soon, later = loop.call_soon(print), loop.call_later(1, print)
    loop.close()
    del loop
    gc.collect()
    later.cancel()
    soon.cancel()
    assert soon.cancelled() and later.cancelled()


def test_many_loops_leave_no_descriptors(loop_type):
    before = len(os.listdir('/proc/self/fd'))
    for _ in range(200):
        loop = loop_type()
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
    assert len(os.listdir('/proc/self/fd')) == before


def test_references_balance_over_many_turns():
    def work():
        loop = uwsgi_tornado.EventLoop()
        for number in range(3000):
            loop.call_soon(len, 'abc')
            loop.call_later(0, len, 'abc').cancel()
        loop.call_soon(lambda: 1 / 0)
        loop.set_exception_handler(lambda *told: None)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
    work()
    gc.collect()
    before = uwsgi_tornado._live()
    for _ in range(5):
        work()
    gc.collect()
    assert uwsgi_tornado._live() == before


@pytest.mark.parametrize('left', [
    '', 'loop.call_soon(print)', 'loop.call_later(9, print)', 'loop.add_reader(0, print)',
    'loop.run_until_complete(asyncio.sleep(0))', 'loop.create_future()', 'loop.run_in_executor(None, print)',
    'import signal; loop.add_signal_handler(signal.SIGTERM, print)'])
@pytest.mark.parametrize('kept', ['asyncio.set_event_loop(loop)', 'loop.itself = loop', 'import builtins; builtins.kept = loop'],
                         ids=['set', 'cycle', 'kept'])
def test_a_loop_left_open_ends_with_the_interpreter_in_silence(run_python, left, kept):
    program = f'import sys; sys.stdin = None\nloop = make_loop()\n{kept}\n{left}'
    result = run_python(program, stdin=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (0, '')


def test_a_run_that_ends_without_memory_is_over(run_python):
    """A loop that was out of memory in the middle of a turn does not run any more, and runs again later."""
    done = run_python('''
import resource
loop = make_loop()
timers = [loop.call_at(loop.time() - 1, int) for _ in range(300_000)]
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used, before[1]))
ends = loop.call_at(loop.time() + 1, loop.stop)
try:
    loop.run_forever()
except MemoryError:
    print('no memory', end=' ')
resource.setrlimit(resource.RLIMIT_AS, before)
ends.cancel()
print(loop.is_running(), asyncio._get_running_loop())
loop.run_until_complete(asyncio.sleep(0))
print('again')
loop.close()
''')
    assert done.stdout.split('\n')[0] in ('no memory False None', 'False None'), done
    assert 'again' in done.stdout, done
