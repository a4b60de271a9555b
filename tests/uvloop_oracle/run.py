#!/usr/bin/env python3
"""uvloop's own tests on our event loop: run.py FOLDER [MODULE or MODULE.CLASS.TEST ...].

FOLDER is uvloop's source. Its tests run once with uvloop and once with asyncio's loop; here those for asyncio get
uwsgi_tornado.EventLoop, and the installed python3-uvloop has what they have in common. Tests that fail must be listed in
known_differences.txt with a reason. One that fails on asyncio's own loop too, on this machine, tells nothing about ours.
tests must be in PYTHONPATH.
"""
import pathlib
import signal
import sys
import tempfile
import time

from cpython_results import failures_of, known_differences, report, run_process

HERE = pathlib.Path(__file__).parent
MODULE_TIMEOUT_S = 240

# About uvloop's own files and library.
NOT_OURS = {'test_cython', 'test_libuv_api', 'test_fs_event', 'test_sourcecode', 'test_testbase'}

# Where a shell started this in the background SIGINT is ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def run_module(folder, loop, names):
    return run_process([sys.executable, str(HERE / 'one_process.py'), str(folder), loop, *names], MODULE_TIMEOUT_S, cwd=folder)


def main():
    started = time.monotonic()
    source, *asked = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        # Beside its tests the source has a package uvloop that is not built.
        (pathlib.Path(folder) / 'tests').symlink_to(pathlib.Path(source).resolve() / 'tests')
        modules = sorted(path.stem for path in pathlib.Path(source, 'tests').glob('test_*.py') if path.stem not in NOT_OURS)
        if not modules:
            sys.exit(f'no tests of uvloop in {source!r}')
        results = {}
        for name in asked or modules:
            results.update(run_module(folder, 'ours', [name]))
        failures, known = failures_of(results), known_differences(HERE)
        unlisted = sorted(set(failures) - set(known))
        if unlisted:
            here_too = failures_of(run_module(folder, 'asyncio', unlisted))
            for test in [test for test in unlisted if test in here_too]:
                print(f'fails on asyncio as well, here: {test}')
                unlisted.remove(test)
    healed = [test for test in known if results.get(test) == 'ok']
    return report('uvloop', results, known, unlisted, healed, time.monotonic() - started)


if __name__ == '__main__':
    sys.exit(main())
