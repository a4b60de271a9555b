"""Requests that compute, beside quick ones.

A route is a function of this module; its argument is the query, its result the body.
"""
import asyncio
import ctypes
import gc
import importlib
import os
import signal
import sys
import threading
import time
import weakref

import uwsgi
import uwsgi_tornado

computed = 0
told = False
count = 0          # What requests that count() have come to.
counting = 0
burning = False
lock = threading.Lock()
guarded = 0
in_callback = None  # Called by the gc callback below.


def work(rounds):
    value = 0
    for number in range(rounds):
        value = (value * 31 + number) % 1000003
    return value


def hello(_):
    """How many computations have ended."""
    return str(computed)


def compute(query):
    """The result of that many rounds, and when the computation began and ended."""
    global computed
    began = time.monotonic()
    os.write(2, b'computing\n')
    value = work(int(query))
    computed += 1
    return f'{value} {began} {time.monotonic()}'


def compute_until_told(query):
    """Computes the same again and again until tell() is asked for, at most that many seconds."""
    global told
    told = False
    until = time.monotonic() + float(query)
    right = work(5000)
    os.write(2, b'computing\n')
    outcomes = set()
    while not told and time.monotonic() < until:
        outcomes.add(work(5000))
    return f"{'told' if told else 'late'}, {'all right' if outcomes == {right} else outcomes}"


def tell(_):
    global told
    told = True
    return 'told'


def preempted(_):
    return str(uwsgi_tornado.blocking_report()['preempted'])


# --- Where nobody else may run ---

def under_user_lock(seconds):
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        uwsgi.lock()
        work(2000)
        uwsgi.unlock()
    return 'done'


def count_for(query):
    """Counts for that many seconds."""
    global count, counting
    counting += 1
    until = time.monotonic() + float(query)
    while time.monotonic() < until:
        count += 1
    counting -= 1
    return 'counted'


def moved(seconds=0.1):
    """How far the others have counted while this computed."""
    before = count
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        work(100)
    return count - before


class Finalised:
    def __init__(self, seen, cycle=False, depth=0):
        self.seen = seen
        self.depth = depth
        self.myself = self if cycle else None

    def __del__(self):
        self.seen.append(self.moved_below(self.depth))

    def moved_below(self, depth):
        return self.moved_below(depth - 1) if depth else moved()


def in_no_suspend():
    with uwsgi_tornado.no_suspend():
        return moved()


def in_finaliser():
    seen = []
    held = Finalised(seen)
    del held
    return seen[0]


def in_far_below_a_finaliser():
    seen = []
    held = Finalised(seen, depth=500)
    del held
    return seen[0]


def in_finaliser_of_collection():
    seen = []
    Finalised(seen, cycle=True)
    gc.collect()
    return seen[0]


class SlowQueue(asyncio.Queue):
    def _put(self, item):
        super()._put(moved())


def in_queue_of_asyncio():
    queue = SlowQueue()
    queue.put_nowait(None)
    return queue.get_nowait()


class Node:
    pass


def in_weakref_callback_of_collection():
    seen = []
    node = Node()
    node.myself = node
    reference = weakref.ref(node, lambda _: seen.append(moved()))
    del node
    gc.collect()
    assert reference() is None
    return seen[0]


def on_gc(phase, _):
    if in_callback is not None:
        in_callback(phase)


gc.callbacks.append(on_gc)


def in_gc_callback():
    global in_callback
    seen = []
    own = threading.get_ident()

    def look(_):
        if threading.get_ident() == own:
            seen.append(moved(0.05))

    in_callback = look
    gc.collect()
    in_callback = None
    assert len(seen) >= 2
    return max(seen)


signal_seen = []
signal_came = threading.Event()


def on_signal(*_):
    signal_seen.append(moved())
    signal_came.set()


signal.signal(signal.SIGALRM, on_signal)


def in_signal_handler():
    signal_came.clear()
    os.kill(os.getpid(), signal.SIGALRM)
    signal_came.wait(20)
    return signal_seen.pop()


def in_child():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before = int(preempted(None))
            os.write(writing, b'%d' % (moved() + int(preempted(None)) - before))
        finally:
            os._exit(0)
    os.close(writing)
    answer = os.read(reading, 100)
    os.close(reading)
    os.waitpid(child, 0)
    return int(answer)


def alone(query):
    """How far others counted inside the place that `query` names, and outside it."""
    while not counting:
        time.sleep(0.001)
    inside = globals()['in_' + query]()
    outside = moved()
    return f'{inside} {outside > 0} {counting > 0}'


async def on_a_loop_of_the_request():
    return moved()


def beside_own_loop():
    return asyncio.run(on_a_loop_of_the_request())


def beside(query):
    """How far others counted inside the place that `query` names."""
    while not counting:
        time.sleep(0.001)
    return str(globals()['beside_' + query]())


# --- With what else takes part ---


def burn():
    while burning:
        work(1000)


def start_threads(query):
    global burning
    burning = True
    for _ in range(int(query)):
        threading.Thread(target=burn, daemon=True).start()
    return 'started'


def stop_threads(_):
    global burning
    burning = False
    return 'stopped'


def threads_begun(query):
    """How often requests gave way while each of that many threads began: its first step needs the GIL."""
    counts = []
    for _ in range(int(query)):
        thread = threading.Thread(target=lambda: None)
        before = uwsgi_tornado.blocking_report()['preempted']
        thread.start()
        counts.append(uwsgi_tornado.blocking_report()['preempted'] - before)
        thread.join()
    return ' '.join(map(str, counts))


def thread_among_requests(query):
    """The turns of a thread that sleeps a moment again and again, until requests have given way that often."""
    turns, ends = 0, threading.Event()

    def take_turns():
        nonlocal turns
        while not ends.is_set():
            time.sleep(0.001)
            turns += 1

    thread = threading.Thread(target=take_turns)
    thread.start()
    until = uwsgi_tornado.blocking_report()['preempted'] + int(query)
    while uwsgi_tornado.blocking_report()['preempted'] < until:
        work(5000)
    ends.set()
    thread.join()
    return str(turns)


def set_switch_interval(query):
    sys.setswitchinterval(float(query))
    return 'set'


def asyncio_run(query):
    async def part(number):
        value = 0
        for _ in range(5):
            value += work(20000 + number)
            await asyncio.sleep(0.001)
        return value

    async def all_parts():
        return sum(await asyncio.gather(*(part(number) for number in range(3))))

    answer = asyncio.run(all_parts())
    assert answer == sum(5 * work(20000 + number) for number in range(3))
    return query


def add_under_lock(query):
    """Each adds that many, slowly: a preempted request holds the lock, and the others wait."""
    global guarded
    for _ in range(int(query)):
        with lock:
            before = guarded
            work(5000)
            guarded = before + 1
    return 'added'


def read_guarded(_):
    return str(guarded)


def import_slowly(_):
    module = importlib.import_module('slow_to_compute')
    return f'{module.VALUE} {module.imports} {id(module)}'


def keep_gil(query):
    ctypes.PyDLL(None).usleep(int(query))
    return 'kept'


def block(query):
    """Waits where suspension is forbidden: the GIL is given up, the worker stands still."""
    before = time.process_time()
    with uwsgi_tornado.no_suspend():
        time.sleep(float(query))
    return str(time.process_time() - before)


def errno_survives(_):
    """Nothing between a call and the look at its errno changes it."""
    libc = ctypes.CDLL(None, use_errno=True)
    for _ in range(20000):
        assert libc.close(-1) == -1 and ctypes.get_errno() == 9
    return 'survived'


def application(environ, start_response):
    body = globals()[environ['PATH_INFO'][1:]](environ['QUERY_STRING']).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
