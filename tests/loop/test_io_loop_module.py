"""What is our IOLoop's alone: its names, its loops, its memory."""
import asyncio
import gc
import subprocess
import sys
import weakref

import pytest
import uwsgi_tornado

TYPES = (uwsgi_tornado.IOLoop, uwsgi_tornado.PeriodicCallback)


def python(program):
    return subprocess.run([sys.executable, '-c', 'import uwsgi_tornado\nIOLoop = uwsgi_tornado.IOLoop\n' + program],
                          capture_output=True, text=True, timeout=30)


def test_all_that_is_public_is_documented():
    for kind in TYPES:
        assert kind.__doc__ and kind.__module__ == 'uwsgi_tornado'
        for name in dir(kind):
            if not name.startswith('_') and not name.isupper():
                assert getattr(kind, name).__doc__, name
                assert not callable(getattr(kind, name)) or getattr(kind, name).__text_signature__, name


def test_a_program_needs_neither_tornado_nor_asyncio():
    done = python('''
import sys
loop = IOLoop.instance()
loop.call_later(0.01, loop.stop)
uwsgi_tornado.PeriodicCallback(print, 1000).start()
loop.start()
print('tornado' in sys.modules, type(loop.asyncio_loop).__name__, IOLoop.current() is loop)
loop.close()
print(IOLoop.current() is loop)
''')
    assert done.stdout == 'False EventLoop True\nFalse\n', done.stderr


def test_the_loop_of_a_chosen_policy_is_kept():
    done = python('''
import asyncio
class Policy(asyncio.DefaultEventLoopPolicy):
    pass
asyncio.set_event_loop_policy(Policy())
print(type(IOLoop.current().asyncio_loop).__name__)
''')
    assert done.stdout == '_UnixSelectorEventLoop\n', done.stderr


def test_one_asyncio_loop_has_one_io_loop():
    loop = asyncio.SelectorEventLoop()
    face = uwsgi_tornado.IOLoop(make_current=False, asyncio_loop=loop)
    assert face.asyncio_loop is loop
    with pytest.raises(RuntimeError, match='has an IOLoop already'):
        uwsgi_tornado.IOLoop(make_current=False, asyncio_loop=loop)
    assert face.run_sync(lambda: asyncio.sleep(0, 'answer')) == 'answer'
    face.close()
    assert loop.is_closed()


def test_errors_of_descriptors_leave_nothing_behind():
    face = uwsgi_tornado.IOLoop(make_current=False)
    with open(__file__) as file:
        for _ in range(2):
            with pytest.raises(PermissionError):
                face.add_handler(file, print, face.READ)
    with pytest.raises(KeyError):
        face.update_handler(99, face.READ)
    with pytest.raises(AttributeError):
        face.add_handler('no file', print, face.READ)
    face.close()


def test_exits_of_callbacks_end_the_run():
    face = uwsgi_tornado.IOLoop(make_current=False)

    def leave():
        raise SystemExit(3)
    face.add_callback(leave)
    with pytest.raises(SystemExit):
        face.start()
    face.close()


def test_it_is_garbage_with_its_loop():
    face = uwsgi_tornado.IOLoop(make_current=False)
    periodic = uwsgi_tornado.PeriodicCallback(lambda: periodic, 1000)
    face.make_current()
    periodic.start()
    face.add_callback(print, face)
    gone = weakref.ref(face)
    face.close()
    del face, periodic
    gc.collect()
    assert gone() is None


def test_both_can_be_derived_from():
    class Loop(uwsgi_tornado.IOLoop):
        pass

    class Periodic(uwsgi_tornado.PeriodicCallback):
        def __init__(self):
            super().__init__(self.call, 1)
            self.calls = 0

        def call(self):
            self.calls += 1
            if self.calls == 3:
                self.stop()
                self.io_loop.stop()
    loop = Loop(make_current=False)
    loop.make_current()
    periodic = Periodic()
    periodic.start()
    loop.start()
    loop.close()
    assert periodic.calls == 3
