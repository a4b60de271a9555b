"""What the runners of CPython's own tests share: the verdict of each test, and the lists of those that may differ."""
import faulthandler
import traceback
import unittest

TEST_TIMEOUT_S = 60


class Lines(unittest.TestResult):
    """A test's begin (verdict None) and its end, each given to say(). A test that hangs ends the process with its stacks."""

    def say(self, test, verdict):
        raise NotImplementedError

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

    addError = addFailure = failed

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.failed(test, error)

    def addSkip(self, test, reason):
        self.verdict = 'skipped'

    def addUnexpectedSuccess(self, test):
        self.verdict = 'unexpected success'


def failures_of(results):
    return {test: verdict for test, verdict in results.items() if verdict not in ('ok', 'skipped')}


def known_differences(folder):
    """{test: reason} of the list in `folder`."""
    lines = (folder / 'known_differences.txt').read_text().splitlines()
    return dict(line.split(None, 1) for line in lines if line.strip() and not line.startswith('#'))
