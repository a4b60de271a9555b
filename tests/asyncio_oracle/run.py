#!/usr/bin/env python3
"""CPython's own test.test_asyncio on our event loop: run.py [MODULE or MODULE.CLASS.TEST ...].

Wherever a test takes the loop of the platform, it gets uwsgi_tornado.EventLoop (substitute.py).
Tests that fail must be listed in known_differences.txt with a reason, and tests that are listed must
fail. One that fails on asyncio's own loop too, on this machine, tells nothing about ours.
tests must be in PYTHONPATH.
"""
import concurrent.futures
import pathlib
import signal
import sys
import time

from cpython_results import failures_of, known_differences, report, run_process

HERE = pathlib.Path(__file__).parent
MODULE_TIMEOUT_S = 240

# What is not asked: proactor and windows modules are another platform's; the others come in.
NOT_OURS = {'test_proactor_events', 'test_windows_events', 'test_windows_utils'}

# Where a shell started this in the background SIGINT is ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def modules():
    import test.test_asyncio
    folder = pathlib.Path(test.test_asyncio.__file__).parent
    return sorted(path.stem for path in folder.glob('test_*.py') if path.stem not in NOT_OURS)


def run_module(loop, names, omitted=()):
    """{test: 'ok', 'skipped' or what it failed with} of one process."""
    command = [sys.executable, str(HERE / 'one_process.py'), loop, *('--not=' + test for test in omitted), *names]
    return run_process(command, MODULE_TIMEOUT_S)


def run_all(loop, names, alone=(), at_once=2):
    """One process each. Tests that are to fail run `alone`: one that does not end would take the others of its module along."""
    results = {}
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for part in pool.map(lambda name: run_module(loop, [name], () if name in alone else alone), [*names, *alone]):
            results.update(part)
    return results


def main():
    started = time.monotonic()
    asked = sys.argv[1:]
    known = known_differences(HERE)
    results = run_all('ours', asked or modules(), () if asked else tuple(known))
    failures = failures_of(results)
    unlisted = sorted(set(failures) - set(known))
    if unlisted:
        here_too = failures_of(run_module('asyncio', unlisted))
        for test in [test for test in unlisted if test in here_too]:
            print(f'fails on asyncio as well, here: {test}')
            unlisted.remove(test)
    healed = [test for test in known if results.get(test, None if asked else 'not run') in ('ok', 'skipped', 'not run')]
    return report('CPython', results, known, unlisted, healed, time.monotonic() - started)


if __name__ == '__main__':
    sys.exit(main())
