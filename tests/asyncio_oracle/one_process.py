"""Runs tests of test.test_asyncio and prints a line for each: one_process.py ours|asyncio [--not=TEST...] NAME..."""
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


def without(tests, omitted):
    """The same tests, but those."""
    kept = unittest.TestSuite()
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            kept.addTest(without(test, omitted))
        elif test.id() not in omitted:
            kept.addTest(test)
    return kept


def main():
    loop, *names = sys.argv[1:]
    omitted = {PREFIX + name.removeprefix('--not=') for name in names if name.startswith('--not=')}
    names = [name for name in names if not name.startswith('--not=')]
    faulthandler.enable()
    if loop == 'ours':
        import substitute
        substitute.install()
    warnings.simplefilter('default')
    tests = unittest.defaultTestLoader.loadTestsFromNames([PREFIX + name for name in names])
    tests = without(tests, omitted)
    if loop == 'ours':
        substitute.prepare(tests)
    tests.run(Lines())
    print('@@done', flush=True)


if __name__ == '__main__':
    main()
