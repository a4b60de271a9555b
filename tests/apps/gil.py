"""Threads, C callbacks, signals and processes in requests that wait.

A route is a function of this module; its argument is the query, its result the body.
"""
import asyncio
import ctypes
import faulthandler
import multiprocessing
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings

import uwsgi_tornado

MEET_S = 25
COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
libc = ctypes.CDLL(None)

meeting = threading.Barrier(20)
burned = 0
burning = False
handled = []
waiting = threading.Event()
woken = threading.Event()


def meet():
    meeting.wait(MEET_S)


def on_signal(number, _):
    handled.append(number)
    os.write(2, b'handled %d\n' % number)


for each in (signal.SIGALRM, signal.SIGWINCH, signal.SIGRTMIN):
    signal.signal(each, on_signal)


# --- Python called from C ---


def callback(own):
    seen = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
    def inner(number):
        meet()
        seen.append(threading.get_ident())
        return number + 1

    answer = inner(int(own))
    assert seen == [threading.get_ident()]
    return str(answer)


def nested_callbacks(own):
    """Callbacks in callbacks, to 30 levels of PyGILState_Ensure."""
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)

    def level(number):
        time.sleep(0.001)
        return number if number == 0 else 1 + kind(level)(number - 1)

    assert kind(level)(30) == 30
    return own


def quicksort(own):
    numbers = [random.randrange(1000) for _ in range(20)]

    def compare(a, b):
        time.sleep(0.001)
        return a[0] - b[0]

    array = (ctypes.c_int * len(numbers))(*numbers)
    libc.qsort(array, len(numbers), ctypes.sizeof(ctypes.c_int), COMPARE(compare))
    assert list(array) == sorted(numbers)
    return own


def sql_function(own):
    connection = sqlite3.connect(':memory:')

    def slow(number):
        time.sleep(0.001)
        return number * int(own)

    connection.create_function('slow', 1, slow)
    connection.execute('create table numbers(n)')
    connection.executemany('insert into numbers values (?)', [(n,) for n in range(20)])
    return str(connection.execute('select sum(slow(n)) from numbers').fetchone()[0])


# --- Threads beside the loop ---


def start_ticker(query):
    """A thread that ticks by itself and says so when it has."""
    def tick():
        for _ in range(50):
            time.sleep(0.002)
        os.write(2, b'ticker ' + query.encode() + b' is done\n')

    threading.Thread(target=tick, daemon=True).start()
    return 'started'


def burn_until(deadline):
    """Computes for a while; returns how far it came."""
    rounds = 0
    while time.monotonic() < deadline:
        rounds += sum(range(50)) > 0
    return rounds


def burn():
    global burned
    while burning:
        burned += burn_until(time.monotonic() + 0.01)


def switch(_):
    """Leaves this request and comes back a thousand times; returns how often the worker locked the GIL's mutex meanwhile."""
    before = uwsgi_tornado._gil_locks()
    for _ in range(1000):
        uwsgi_tornado.await_(asyncio.sleep(0))
    return str(uwsgi_tornado._gil_locks() - before)


def start_burner(_):
    global burning
    burning = True
    threading.Thread(target=burn, daemon=True).start()
    return 'started'


def stop_burner(_):
    global burning
    burning = False
    return str(burned)


def progress_of_burner(_):
    return str(burned)


def compete(_):
    """How far this request and the thread came while both computed."""
    before = burned
    own = burn_until(time.monotonic() + 0.6)
    return f'{own} {burned - before}'


def nap(_):
    time.sleep(0.1)
    return 'rested'


def add_pending_call(_):
    """One that any thread may run: CPython looks under the GIL's mutex for the thread that has to, with the GIL held."""
    called = threading.Event()

    @ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    def call(_):
        called.set()
        return 0

    api = ctypes.pythonapi
    api.PyInterpreterState_Get.restype = ctypes.c_void_p
    assert api._PyEval_AddPendingCall(ctypes.c_void_p(api.PyInterpreterState_Get()), call, None, 0) == 0
    while not called.is_set():
        pass
    return 'called'


def start_threads(own):
    """Threads of a request: each waits, then reports; the request joins them."""
    reports = []

    def work(number):
        time.sleep(0.02)
        reports.append((number, threading.get_ident()))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    meet()
    for thread in threads:
        thread.join()
    idents = {ident for _, ident in reports}
    assert sorted(number for number, _ in reports) == [0, 1, 2]
    assert threading.get_ident() not in idents
    return own


# --- What Python says of its threads ---


def frames(_):
    """Looks while 19 others stand in stand(): each core under its own ident."""
    meet()
    found = {ident: frame for ident, frame in sys._current_frames().items() if stands(frame)}
    alive = {thread.ident: thread.name for thread in threading.enumerate()}
    named = [alive[ident] for ident in found if ident in alive]
    meet()
    assert len(named) == len(set(named)) == 19, named
    return f'{len(found)} {all(name.startswith("uWSGIWorker1Core") for name in named)}'


def stands(frame):
    while frame:
        if frame.f_code.co_name == 'stand':
            return True
        frame = frame.f_back
    return False


def stand(_):
    meet()
    meet()
    return threading.current_thread().name


def dump(_):
    """How many stacks of waiting requests faulthandler shows, itself included."""
    meet()
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        text = file.read().decode()
    meet()
    return f'{text.count("in stand")} {text.count("in dump")}'


# --- Signals ---


def kill_and_sleep(_):
    os.kill(os.getpid(), signal.SIGWINCH)
    time.sleep(0.3)
    os.write(2, b'rested\n')
    return 'rested'


def kill_when_woken(_):
    """Woken by another request, not by an event: the loop goes to sleep right after."""
    waiting.set()
    woken.wait(MEET_S)
    return kill_and_sleep(_)


def wake(_):
    waiting.wait(MEET_S)
    woken.set()
    return 'set'


def signal_myself(_):
    return signal_from(lambda ident: signal.pthread_kill(ident, signal.SIGRTMIN))


def signal_from_a_thread(_):
    def kill(ident):
        thread = threading.Thread(target=signal.pthread_kill, args=(ident, signal.SIGRTMIN))
        thread.start()
        thread.join()
    return signal_from(kill)


def signal_from(kill):
    before = len(handled)
    kill(threading.get_ident())
    while len(handled) == before:
        time.sleep(0.001)
    return str(handled[-1] == signal.SIGRTMIN)


def set_handler(_):
    try:
        signal.signal(signal.SIGALRM, on_signal)
    except ValueError as error:
        return str(error)


# --- Processes ---


def fork(own):
    """A child that prints through a pipe and leaves at once."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, f'{own} {threading.get_ident()}'.encode())
        os._exit(7)
    os.close(writing)
    text = os.read(reading, 100).decode()
    os.close(reading)
    _, status = os.waitpid(child, 0)
    assert os.WEXITSTATUS(status) == 7
    assert text == f'{own} {threading.get_ident()}'
    return own


def fork_and_return(_):
    """A child that goes back to the server, as a careless library's would."""
    child = os.fork()
    if child == 0:
        return 'child'
    _, status = os.waitpid(child, 0)
    return f'{os.getpid()} {os.WEXITSTATUS(status)}'


def fork_and_raise(_):
    child = os.fork()
    if child == 0:
        raise RuntimeError('in the child')
    _, status = os.waitpid(child, 0)
    return f'{os.getpid()} {os.WEXITSTATUS(status)}'


def work_in_process(connection, number):
    time.sleep(0.01)
    connection.send(number * 2)


def process(own):
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context('fork').Process(target=work_in_process, args=(there, int(own)))
    child.start()
    answer = here.recv()
    child.join()
    while child.exitcode is None:  # Where another request's start() has reaped it, and is about to keep how it ended.
        time.sleep(0.001)
    # Before 3.13 a child forked off the main thread exits with 1 (an assertion in threading).
    assert child.exitcode == 0 or sys.version_info < (3, 13)
    return str(answer)


def command(own):
    return subprocess.run(['sh', '-c', f'sleep 0.1; echo {own}'], capture_output=True, text=True,
                          check=True).stdout.strip()


def called_by_several():
    return 1


def profile(_):
    """Counts its own calls, not those of requests that run meanwhile."""
    calls = 0

    def count(frame, event, _):
        nonlocal calls
        calls += event == 'call'

    sys.setprofile(count)
    called_by_several()
    time.sleep(0.001)
    sys.setprofile(None)
    called_by_several()
    time.sleep(0.001)
    return str(calls)


def call_in_each_turn(_):
    """On the loop, which does not sleep meanwhile."""
    async def calls():
        number = 0
        while not woken.is_set():
            await asyncio.sleep(0)
            number += called_by_several()
        return number

    waiting.set()
    return 'called' if uwsgi_tornado.await_(calls()) > 20 else ''


def warn(_):
    try:
        warnings.warn('one', stacklevel=1)
    except UserWarning:
        return 'an error'
    return 'a line in the log'


def pid(_):
    return str(os.getpid())


def application(environ, start_response):
    body = globals()[environ['PATH_INFO'][1:]](environ['QUERY_STRING']).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
