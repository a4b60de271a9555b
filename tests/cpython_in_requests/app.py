"""Runs tests of CPython's inside a request: /run?test.test_queue writes a line for each to the file RESULTS.

SKIPPED lists patterns of tests, one a line, that are not run: an earlier try has run them, or was ended by them.
"""
import faulthandler
import fnmatch
import json
import os
import signal
import sys
import threading
import traceback
import unittest

from test import support

TEST_TIMEOUT_S = 60

sys.executable = os.environ['PYTHON']  # uWSGI's own is no Python.
sys.argv = ['app.py']
support.use_resources = os.environ['RESOURCES'].split()
support.verbose = 0
results = open(os.environ['RESULTS'], 'a', buffering=1)
skipped = ['test.' + pattern for pattern in os.environ['SKIPPED'].split('\n')]


class Lines(unittest.TestResult):
    """A test's begin (verdict None) and its end. A test that hangs ends the process with its stacks."""

    def say(self, test, verdict):
        if os.getpid() == worker:  # A child that a test forked, and did not end, is no witness.
            results.write(json.dumps([test.id(), verdict]) + '\n')

    def startTest(self, test):
        super().startTest(test)
        self.verdict = 'ok'
        faulthandler.dump_traceback_later(TEST_TIMEOUT_S, exit=True)
        self.say(test, None)

    def stopTest(self, test):
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()
        self.say(test, self.verdict)

    def failed(self, test, error):
        self.verdict = ''.join(traceback.format_exception(*error))
        if not isinstance(test, unittest.TestCase):  # Set-up of a class or module.
            self.say(test, self.verdict)

    def addError(self, test, error):
        self.failed(test, error)

    def addFailure(self, test, error):
        self.failed(test, error)

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.failed(test, error)

    def addSkip(self, test, reason):
        self.verdict = 'skipped'

    def addUnexpectedSuccess(self, test):
        self.verdict = 'unexpected success'


def is_skipped(test):
    return any(fnmatch.fnmatchcase(test.id(), pattern) for pattern in skipped)


def without_skipped(suite):
    """The suite of the same shape, so that what classes and modules set up is set up once."""
    return unittest.TestSuite(without_skipped(test) if isinstance(test, unittest.TestSuite) else test
                              for test in suite if isinstance(test, unittest.TestSuite) or not is_skipped(test))


def run(names):
    global worker
    worker = os.getpid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())  # uWSGI's threads block them, and so would each child.
    without_skipped(unittest.defaultTestLoader.loadTestsFromNames(names)).run(Lines())
    return b'done'


def application(environ, start_response):
    # Under threads one of them is CPython's main thread; under this engine no request is.
    if environ['PATH_INFO'] == '/hello':
        body = b'hello'
    elif threading.current_thread() is threading.main_thread():
        body = b'on the main thread'
    else:
        body = run(environ['QUERY_STRING'].split(','))
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
