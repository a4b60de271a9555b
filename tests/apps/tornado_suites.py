"""Runs a suite of Tornado's own inside the worker: its test cases on a virtual thread, the server that they test is uWSGI's socket.

SUITE names the module; OMITTED the tests that are not run, separated by spaces; PORT is the socket's.
"""
import asyncio
import importlib
import os
import sys
import unittest

import uwsgi_tornado
from tornado import gen, httpserver, ioloop, testing, web

ORIGINAL_TIMEOUT = testing.get_async_test_timeout()


class Server(httpserver.HTTPServer):
    """What a test case has for a server: uWSGI's socket, with its options and its application."""

    def add_sockets(self, sockets):
        vars(application).update(vars(self))

    def stop(self):
        pass

    async def close_all_connections(self):
        pass


application = httpserver.HTTPServer(web.Application())


def run_sync(self, function, timeout=None):
    async def run():
        result = function()
        return result if result is None else await gen.convert_yielded(result)

    try:
        return uwsgi_tornado.await_(run(), timeout=timeout)
    except asyncio.TimeoutError:
        raise ioloop.TimeoutError(f'Operation timed out after {timeout} seconds')


class AsyncTestCase:
    def setUp(self):
        self.io_loop = ioloop.IOLoop.current()
        self.asyncio_loop = self.io_loop.asyncio_loop
        self.before = asyncio.all_tasks(self.asyncio_loop)
        self.stopped = None

    def tearDown(self):
        tasks = asyncio.all_tasks(self.asyncio_loop) - self.before

        async def cancel():
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        if tasks:
            self.io_loop.run_sync(cancel)

    def stop(self, _arg=None, **kwargs):
        self.future().set_result(kwargs or _arg)

    def wait(self, condition=None, timeout=None):
        result = uwsgi_tornado.await_(self.future(), timeout=timeout or ORIGINAL_TIMEOUT)
        self.stopped = None
        return result

    def future(self):
        if self.stopped is None:
            self.stopped = self.asyncio_loop.create_future()
        return self.stopped


class AsyncHTTPTestCase:
    def setUp(self):
        testing.AsyncTestCase.setUp(self)
        self.http_client = self.get_http_client()
        self._app = self.get_app()
        self.http_server = self.get_http_server()
        self.http_server.add_sockets([])

    def get_http_server(self):
        return Server(self._app, **self.get_httpserver_options())

    def get_http_port(self):
        return int(os.environ['PORT'])


class AsyncHTTPSTestCase:
    def get_http_port(self):
        return int(os.environ['TLS_PORT'])


for ours, theirs in ((AsyncTestCase, testing.AsyncTestCase), (AsyncHTTPTestCase, testing.AsyncHTTPTestCase),
                     (AsyncHTTPSTestCase, testing.AsyncHTTPSTestCase)):
    for name, value in vars(ours).items():
        if callable(value):
            setattr(theirs, name, value)
ioloop.IOLoop.run_sync = run_sync


class Result(unittest.TextTestResult):
    def addSuccess(self, test):
        super().addSuccess(test)
        print('PASSED', test.id(), flush=True)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print('SKIPPED', test.id(), reason, flush=True)


def tests_of(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_of(test)
        else:
            yield test


def run():
    module = importlib.import_module(os.environ['SUITE'])
    omitted = os.environ.get('OMITTED', '').split()
    only = os.environ.get('ONLY', '')
    prefix = module.__name__ + '.'
    chosen = [test for test in tests_of(unittest.defaultTestLoader.loadTestsFromModule(module))
              if only in test.id() and test.id()[len(prefix):] not in omitted and test.id()[len(prefix):].split('.')[0] not in omitted]
    result = unittest.TextTestRunner(stream=sys.stdout, resultclass=Result).run(unittest.TestSuite(chosen))
    for kind, outcomes in (('FAILED', result.failures), ('FAILED', result.errors)):
        for test, _ in outcomes:
            print(kind, test.id(), flush=True)
    print(f'SUITE HAS RUN {result.testsRun}', flush=True)


ioloop.IOLoop.current().add_callback(uwsgi_tornado.spawn, run)  # Once the worker runs it.
