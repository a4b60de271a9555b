"""Puts our event loop where asyncio's tests take the platform's."""
import asyncio
import unittest
from unittest import mock

import uwsgi_tornado


class EventLoop(uwsgi_tornado.EventLoop):
    """Takes the selector that tests give and does not use it."""

    def __init__(self, selector=None):
        if selector is not None:
            selector.close()
        super().__init__()


class EventLoopPolicy(uwsgi_tornado.EventLoopPolicy):
    _loop_factory = EventLoop


def install():
    """Before the tests are imported: some derive from these names."""
    asyncio.SelectorEventLoop = asyncio.unix_events.SelectorEventLoop = EventLoop
    if hasattr(asyncio, 'EventLoop'):  # From 3.13 on, another name of it.
        asyncio.EventLoop = asyncio.unix_events.EventLoop = EventLoop
    if hasattr(asyncio.events, '_set_event_loop_policy'):  # From 3.14 on the names without an underscore warn.
        asyncio.unix_events._DefaultEventLoopPolicy = EventLoopPolicy
        asyncio.events._set_event_loop_policy(EventLoopPolicy())
    else:
        asyncio.DefaultEventLoopPolicy = asyncio.unix_events.DefaultEventLoopPolicy = EventLoopPolicy
        asyncio.set_event_loop_policy(EventLoopPolicy())


# These make handles by hand; elsewhere asyncio's own loops are tested with asyncio's own handles.
HANDLE_TESTS = {'HandleTests', 'TimerTests'}


def prepare(tests):
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            prepare(test)
        elif type(test).__name__ in HANDLE_TESTS:
            for name in ('Handle', 'TimerHandle'):
                patch = mock.patch.object(asyncio, name, getattr(uwsgi_tornado, name))
                type(test).setUpClass = classmethod(starting(type(test).setUpClass.__func__, patch))
    return tests


def starting(set_up, patch):
    def set_up_class(cls):
        set_up(cls)
        patch.start()
        cls.addClassCleanup(patch.stop)
    return set_up_class
