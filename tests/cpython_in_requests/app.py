"""Runs tests of CPython's inside a request: /run?test.test_queue writes a line for each to the file RESULTS.

SKIPPED lists patterns of tests, one a line, that are not run: an earlier try has run them, or was ended by them.
"""
import fnmatch
import json
import os
import signal
import sys
import threading
import unittest

import cpython_results
from test import support

sys.executable = os.environ['PYTHON']  # uWSGI's own is no Python.
sys.argv = ['app.py']
support.use_resources = os.environ['RESOURCES'].split()
support.verbose = 0
results = open(os.environ['RESULTS'], 'a', buffering=1)
skipped = ['test.' + pattern for pattern in os.environ['SKIPPED'].split('\n')]


class Lines(cpython_results.Lines):
    def say(self, test, verdict):
        if os.getpid() == worker:  # A child that a test forked, and did not end, is no witness.
            results.write(json.dumps([test.id(), verdict]) + '\n')


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
