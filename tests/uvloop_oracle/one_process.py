"""Runs tests of uvloop's and prints a line for each: one_process.py FOLDER ours|asyncio NAME..."""
import faulthandler
import json
import os
import pathlib
import sys
import unittest
import warnings

import cpython_results

PREFIX = 'tests.'


class Lines(cpython_results.Lines):
    def say(self, test, verdict):
        print('@@' + json.dumps([test.id().removeprefix(PREFIX), verdict]), flush=True)


def for_asyncio(tests):
    """Those that uvloop runs with asyncio's loop, to compare."""
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            yield from for_asyncio(test)
        elif getattr(test, 'implementation', 'asyncio') == 'asyncio':
            yield test


def main():
    folder, loop, *names = sys.argv[1:]
    faulthandler.enable()
    if loop == 'ours':
        sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'asyncio_oracle'))
        import substitute
        substitute.install()
    sys.path.insert(0, folder)
    from uvloop import _testbase
    if loop == 'ours':
        _testbase.AIOTestCase.new_loop = lambda self: substitute.EventLoop()
        _testbase.AIOTestCase.new_policy = lambda self: substitute.EventLoopPolicy()
    warnings.simplefilter('default')
    tests = unittest.defaultTestLoader.loadTestsFromNames([PREFIX + name for name in names])
    unittest.TestSuite(for_asyncio(tests)).run(Lines())
    print('@@done', flush=True)
    os._exit(0)  # A test that failed may have left a thread that waits for ever.


if __name__ == '__main__':
    main()
