"""Requests that run canaries of native libraries (canaries.py): QUANTUM_MS is how long a request computes before another has its turn.

/run/NAME?N runs those whose names have NAME in them, and answers "N right" or what was wrong. A real thread runs them all the time, too.
"""
import itertools
import os
import random
import sys
import threading
import time

import canaries

QUANTUM_S = float(os.environ.get('QUANTUM_MS', 10)) / 1000
COMPUTING = 4  # Canaries of a request in which it computes; in the others it waits, or does nothing.


@canaries.on_wait
def wait():
    time.sleep(0.001)


@canaries.on_wait
def compute():
    end = time.monotonic() + 1.2 * QUANTUM_S
    while time.monotonic() < end:
        pass


@canaries.on_wait
def nothing():
    pass


def run(own, names, chance):
    return canaries.run(own, lambda index: compute if index < COMPUTING else chance.choice([wait, nothing]), names, chance)


def run_in_a_thread():
    names = [name for name in canaries.CALLS if not name.startswith('once_')]  # Those are made by requests.
    for own in itertools.count(10**6):
        for wrong in run(own, names, random):
            print('WRONG in a thread:', wrong, file=sys.stderr, flush=True)
        time.sleep(0.02)


def ends_of(spawn):
    """Whether destructors find what each of twenty functions has left, which spawn(function) runs at once."""
    numbers = range(2 * 10**6, 2 * 10**6 + 20)
    names = [name for kind in ('local_constructed', 'local_key ', 'local_with_drop') for name in canaries.calls_of(kind)]
    for join in [spawn(lambda own=own: run(own, names, random.Random(own))) for own in numbers]:
        join()
    found = {library.name: set() for library in canaries.LIBRARIES}
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(owns != set(numbers) for owns in found.values()):
        for library in canaries.LIBRARIES:
            found[library.name] |= {own for own in library.ended() if abs(own) in numbers}
        time.sleep(0.005)  # A thread's destructors may run after its end is known.
    return {name: owns == set(numbers) for name, owns in found.items()}


def thread(function):
    started = threading.Thread(target=function)
    started.start()
    return started.join


def spawned(function):
    import uwsgi_tornado
    done = threading.Event()
    uwsgi_tornado.spawn(lambda: (function(), done.set()))
    return done.wait


def say_ends():
    """Destructors write to the log from now on."""
    for library in canaries.LIBRARIES:
        library.without_gil.canaries_say_ends(sys.stderr.fileno())


def answer(path, number):
    if path == '/ends':
        return ends_of(spawned if 'uwsgi_tornado' in sys.modules else thread)
    if path == '/say_ends':
        return say_ends()
    own = number + 1  # To a canary 0 is nobody.
    wrong = run(own, canaries.calls_of(path[len('/run/'):]), random.Random(own))
    return f'{number} {", ".join(wrong) or "right"}'


if 'NO_THREAD' not in os.environ:
    threading.Thread(target=run_in_a_thread, daemon=True).start()


def application(environ, start_response):
    body = str(answer(environ['PATH_INFO'], int(environ['QUERY_STRING'] or 0))).encode()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
