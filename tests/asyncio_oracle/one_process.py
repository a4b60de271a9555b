"""Runs tests of test.test_asyncio and prints a line for each: one_process.py ours|asyncio NAME..."""
import faulthandler
import json
import sys
import unittest
import warnings

import cpython_results

PREFIX = 'test.test_asyncio.'


class Lines(cpython_results.Lines):
    def say(self, test, verdict):
        print('@@' + json.dumps([test.id().removeprefix(PREFIX), verdict]), flush=True)


def main():
    loop, *names = sys.argv[1:]
    faulthandler.enable()
    if loop == 'ours':
        import substitute
        substitute.install()
    warnings.simplefilter('default')
    tests = unittest.defaultTestLoader.loadTestsFromNames([PREFIX + name for name in names])
    if loop == 'ours':
        substitute.prepare(tests)
    tests.run(Lines())
    print('@@done', flush=True)


if __name__ == '__main__':
    main()
