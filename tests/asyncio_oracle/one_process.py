"""Runs tests of test.test_asyncio and prints a line for each: one_process.py ours|asyncio NAME..."""
import faulthandler
import json
import sys
import traceback
import unittest
import warnings

TEST_TIMEOUT_S = 60
PREFIX = 'test.test_asyncio.'


def say(test, verdict):
    print('@@' + json.dumps([test.id().removeprefix(PREFIX), verdict]), flush=True)


class Lines(unittest.TestResult):
    """A test's begin (verdict None) and its end. A test that hangs ends the process with its stacks."""

    def startTest(self, test):
        super().startTest(test)
        self.verdict = 'ok'
        faulthandler.dump_traceback_later(TEST_TIMEOUT_S, exit=True)
        say(test, None)

    def stopTest(self, test):
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()
        say(test, self.verdict)

    def failed(self, test, error):
        self.verdict = ''.join(traceback.format_exception(*error))
        if not isinstance(test, unittest.TestCase):  # Set-up of a class or module.
            say(test, self.verdict)

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
