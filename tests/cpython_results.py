"""What the runners of others' tests share: the verdict of each test, and the lists of those that may differ."""
import faulthandler
import json
import re
import subprocess
import sys
import traceback
import unittest

TEST_TIMEOUT_S = 60
VERSION = re.compile(r'(?:(\d+\.\d+(?:\.\d+)?)\+ )?(.*)')


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


def run_process(command, timeout, **more):
    """{test: 'ok', 'skipped' or what it failed with} of a process that prints a line for each, and one at its end."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **more)
        output, errors = done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        output, errors = (late.stdout or b'').decode(), (late.stderr or b'').decode() + '\ntook too long'
    results, begun = {}, None
    for line in output.splitlines():
        if not line.startswith('@@['):
            continue
        test, verdict = json.loads(line[2:])
        if verdict is None:
            begun = test
        else:
            results[test] = verdict
    if '@@done' not in output.splitlines():
        results[begun or command[-1]] = 'the process ended in it:\n' + errors[-4000:]
    return results


def report(kind, results, known, unlisted, healed, seconds):
    """Prints what is to be looked at, and a line of figures. The exit status."""
    failures, counted = failures_of(results), list(results.values())
    for test in unlisted:
        print(f'\nFAILED {test}\n{failures[test]}')
    for test in healed:
        print(f'\nLISTED AS A DIFFERENCE, BUT {results.get(test, "not there").upper()}: {test}')
    print(f'{len(counted)} tests of {kind} on our loop: {counted.count("ok")} pass, {counted.count("skipped")} skipped, '
          f'{len(set(failures) & set(known))} known, {len(unlisted)} failed ({seconds:.0f} s)')
    return 1 if unlisted or healed or not counted.count('ok') else 0


def failures_of(results):
    return {test: verdict for test, verdict in results.items() if verdict not in ('ok', 'skipped')}


def known_differences(folder):
    """{test: reason} of the list in `folder`. Lines with a version, as in "3.14+ test reason", are of Pythons from that one on."""
    known = {}
    for line in (folder / 'known_differences.txt').read_text().splitlines():
        since, rest = VERSION.match(line).groups()
        if rest and not rest.startswith('#') and (not since or sys.version_info >= tuple(map(int, since.split('.')))):
            test, reason = rest.split(None, 1)
            known[test] = reason
    return known
