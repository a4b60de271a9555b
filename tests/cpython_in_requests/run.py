#!/usr/bin/env python3
"""CPython's own tests inside requests, beside a light load: run.py [--quick] [MODULE or MODULE.CLASS.TEST ...].

Each module is run by a request of a server with this engine and by one of a server with --threads. A test that passes
there and not here must be listed in known_differences.txt with a reason, and tests that are listed must differ.
Not asked: test_sqlite3, which Debian's package leaves out, and what needs another machine (test_timeout).
TORNADO_PLUGIN is the plugin; tests and tests/server must be in PYTHONPATH.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import select
import signal
import sys
import tempfile
import threading
import time

from conftest import OTHER_PYTHON, Server, ThreadedServer
from cpython_results import failures_of, known_differences

HERE = pathlib.Path(__file__).parent
MODULE_TIMEOUT_S = 1800  # test_multiprocessing_fork beside other work; each test has a limit of its own.
TRIES = 12  # Of a module whose process ends in one test after the other.
HELLO_S = 0.02

QUICK = '''
    test_thread test_queue test_context test_fcntl test_threading_local test_threadedtempfile test_selectors test_select test_epoll
    test_socketserver test_smtplib test_httplib test_urllib2_localnet test_nntplib test_asyncore test_popen test_pipes test_fork1
    test_posix test_os test_pty test_exceptions test_generators test_gc test_weakref'''.split()

# Patterns of what is not asked: neither in a request nor under --threads does it come to an end.
NOT_ASKED = [
    'test_concurrent_futures.ProcessPoolForkserver*',  # Python is started by uWSGI's command line.
    'test_concurrent_futures.ProcessPoolSpawn*',
    'test_multiprocessing_fork.WithProcessesTestCondition.test_wait_result',  # They send SIGINT, on which uWSGI ends.
    'test_multiprocessing_fork.*.test_shared_memory_SharedMemoryServer_ignores_sigint',
]

MODULES = '''
    test_thread test_queue test_context test_fcntl test_threading test_threading_local test_threadedtempfile test_threadsignals test_selectors
    test_select test_poll test_epoll test_socket test_socketserver test_ssl test_smtplib test_ftplib test_httplib test_httpservers test_urllib
    test_urllib2_localnet test_xmlrpc test_imaplib test_poplib test_nntplib test_asynchat test_asyncore test_subprocess test_popen test_pipes
    test_fork1 test_wait3 test_wait4 test_posix test_os test_pty test_openpty test_signal test_eintr test_file_eintr test_time
    test_logging test_decimal test_generators test_coroutines test_exceptions test_raise test_baseexception test_contextlib
    test_contextlib_async test_gc test_weakref test_weakset test_ctypes test_functools test_io test_fileio test_bufio test_mmap test_tempfile
    test_mailbox test_locale test_codecs test_sys_settrace test_sys_setprofile test_faulthandler test_tracemalloc test_zoneinfo test_zipfile
    test_concurrent_futures test_multiprocessing_fork'''.split()

# What a module asks for where it only uses this machine; the others get none, as by `python3 -m test` without -u.
RESOURCES = {'test_socketserver': 'network'}

# Where a shell started this in the background SIGINT is ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

Run = collections.namedtuple('Run', 'results seconds slowest_hello_s')


def hello_until(over, port, slowest):
    """Asks, one request after the other, until `over` is set."""
    while not over.wait(HELLO_S):
        began = time.monotonic()
        with contextlib.closing(http.client.HTTPConnection('127.0.0.1', port, timeout=120)) as connection:
            with contextlib.suppress(OSError, http.client.HTTPException):  # The process has ended: the other request tells.
                connection.request('GET', '/hello')
                connection.getresponse().read()
        slowest.append(time.monotonic() - began)


def ask(running, names):
    """Whether the tests came to their end."""
    with contextlib.closing(http.client.HTTPConnection('127.0.0.1', running.port, timeout=MODULE_TIMEOUT_S)) as connection:
        connection.request('GET', '/run?' + ','.join('test.' + name for name in names))
        until = time.monotonic() + MODULE_TIMEOUT_S
        while not select.select([connection.sock], [], [], 1)[0]:
            # A child that it leaves behind has the connection, too: nobody closes that.
            if running.process.poll() is not None or time.monotonic() > until:
                return False
        answer = connection.getresponse().read()
    if answer == b'on the main thread':
        return ask(running, names)
    return answer == b'done'


def try_once(kind, names, folder, seen):
    """Runs those of the tests that `seen` does not have, and adds them to it; whether all was run."""
    results = folder / 'results'
    results.unlink(missing_ok=True)
    environ = {'PYTHON': OTHER_PYTHON or '/usr/bin/python3', 'RESULTS': str(results),
               'RESOURCES': RESOURCES.get(names[0].partition('.')[0], ''), 'SKIPPED': '\n'.join([*NOT_ASKED, *seen])}
    options = ['--disable-logging', '--enable-threads']
    running = kind(folder, str(HERE / 'app.py'), options, 'http-socket', 8, environ, launcher=['setsid'])
    over, slowest = threading.Event(), []
    load = threading.Thread(target=hello_until, args=(over, running.port, slowest))
    load.start()
    finished, begun = False, None
    try:
        finished = ask(running, names)
    except (OSError, http.client.HTTPException):
        pass  # It has ended, or waits for ever: the results tell in which test.
    finally:
        over.set()
        with contextlib.suppress(ProcessLookupError):  # With the children that it has, or has left behind.
            os.killpg(running.process.pid, signal.SIGKILL)
        running.kill()
        load.join()
    for line in results.read_text().splitlines() if results.exists() else []:
        test, verdict = json.loads(line)
        test = test.replace('test.', '', 1)
        if verdict is None:
            begun = test
        else:
            seen[test], begun = verdict, None
    if not finished:
        seen[begun or 'after ' + ' '.join(names)] = 'the process ended in it:\n' + '\n'.join(running.log.splitlines()[-60:])
    return finished or begun is None, max(slowest, default=0)


def run(kind, names):
    """{test: 'ok', 'skipped' or what it failed with}, the seconds, and the slowest other request meanwhile."""
    began, seen, slowest = time.monotonic(), {}, 0
    with tempfile.TemporaryDirectory(prefix='cpython-') as folder:
        for _ in range(TRIES):
            finished, slowest_here = try_once(kind, names, pathlib.Path(folder), seen)
            slowest = max(slowest, slowest_here)
            if finished:
                break
    return Run(seen, time.monotonic() - began, slowest)


def compare(name):
    """(tests here, {test that passes under threads only: how it failed here}) of a module."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        ours, theirs = pool.map(lambda kind: run(kind, [name]), [Server, ThreadedServer])
    failures, failures_there = failures_of(ours.results), failures_of(theirs.results)
    differ = {test: verdict for test, verdict in failures.items() if test not in failures_there}
    print(f'{name}: {len(ours.results)} tests, {len(failures)} fail here and {len(failures_there)} under threads, {len(differ)} here only; '
          f'{ours.seconds:.0f} s and {theirs.seconds:.0f} s, slowest hello {ours.slowest_hello_s:.2f} s and {theirs.slowest_hello_s:.2f} s',
          flush=True)
    return ours.results, differ


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    began, known = time.monotonic(), known_differences(HERE)
    names = options.names or (QUICK if options.quick else MODULES)
    results, differ = {}, {}
    for name in names:
        results_of_one, differ_of_one = compare(name)
        results.update(results_of_one)
        differ.update(differ_of_one)
    for test in [test for test in differ if test not in known and not test.startswith('after ')]:
        if test not in failures_of(run(Server, [test]).results):
            print(f'passes at the second try, alone: {test}')
            del differ[test]
    unlisted = sorted(set(differ) - set(known))
    healed = [test for test, reason in known.items()
              if not reason.startswith('Sometimes: ') and test in results and test not in differ]
    for test in unlisted:
        print(f'\nFAILED HERE ONLY {test}\n{differ[test]}')
    for test in healed:
        print(f'\nLISTED AS A DIFFERENCE, BUT AS UNDER THREADS: {test}')
    counted = list(results.values())
    print(f'{len(counted)} tests of CPython in requests: {counted.count("ok")} pass, {counted.count("skipped")} skipped, '
          f'{len(failures_of(results)) - len(differ)} fail as under threads, {len(differ) - len(unlisted)} are known to differ, '
          f'{len(unlisted)} failed here only ({time.monotonic() - began:.0f} s)')
    return 1 if unlisted or healed or not counted.count('ok') else 0


if __name__ == '__main__':
    sys.exit(main())
