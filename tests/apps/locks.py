"""Python's locks between requests that wait, and between requests and threads.

A route is a function of this module; its argument is the query, its result the body.
"""
import concurrent.futures
import functools
import importlib
import logging
import os
import queue
import signal
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(__file__))

WAIT_S = 25

lock = threading.Lock()
rlock = threading.RLock()
semaphore = threading.BoundedSemaphore(3)
condition = threading.Condition()
event = threading.Event()
barrier = threading.Barrier(30)
queues = {'Queue': queue.Queue(), 'LifoQueue': queue.LifoQueue(), 'PriorityQueue': queue.PriorityQueue(),
          'SimpleQueue': queue.SimpleQueue(), 'full': queue.Queue(maxsize=1)}
executor = concurrent.futures.ThreadPoolExecutor(8)
log = logging.getLogger('slow')
shared = {}


class Crowd:
    """Counts who is inside at once."""

    def __init__(self):
        self.inside = self.peak = 0

    def __enter__(self):
        self.inside += 1
        self.peak = max(self.peak, self.inside)
        time.sleep(0.005)

    def __exit__(self, *_):
        self.inside -= 1


crowd = Crowd()


def hold_lock(_):
    with lock, crowd:
        pass
    return str(crowd.peak)


def hold_rlock(_):
    with rlock, crowd, rlock:
        time.sleep(0.001)
    return str(crowd.peak)


def hold_semaphore(_):
    with semaphore, crowd:
        pass
    return str(crowd.peak)


def pass_barrier(own):
    for _ in range(3):
        barrier.wait(WAIT_S)
    return own


def wait_for_condition(own):
    with condition:
        shared['waiting'] = shared.get('waiting', 0) + 1
        condition.notify_all()
        assert condition.wait_for(lambda: shared.get('open'), WAIT_S)
    return own


def open_condition(_):
    with condition:
        assert condition.wait_for(lambda: shared.get('waiting') == 20, WAIT_S)
        shared['open'] = True
        condition.notify_all()
    return 'opened'


def wait_for_event(own):
    assert event.wait(WAIT_S)
    return own


def set_event_in_thread(_):
    """A thread sets it while the loop sleeps."""
    threading.Timer(0.1, event.set).start()
    return 'soon'


# --- Queues and futures ---


def put(query):
    name, number = query.split('=')
    queues[name].put(int(number), timeout=WAIT_S) if name != 'SimpleQueue' else queues[name].put(int(number))
    return 'put'


def get(query):
    return str(queues[query.split('=')[0]].get(timeout=WAIT_S))


def double(number):
    time.sleep(0.02)
    return 2 * number


def submit(own):
    return str(executor.submit(double, int(own)).result(WAIT_S))


def as_completed(own):
    futures = [executor.submit(double, int(own) + n) for n in range(3)]
    return str(sum(future.result() for future in concurrent.futures.as_completed(futures, WAIT_S)))


def wait_for_futures(own):
    futures = [executor.submit(double, int(own) + n) for n in range(3)]
    done, pending = concurrent.futures.wait(futures, WAIT_S)
    assert not pending
    return str(sum(future.result() for future in done))


def executor_of_its_own(own):
    with concurrent.futures.ThreadPoolExecutor(2) as own_executor:
        return str(sum(own_executor.map(double, [int(own)] * 3)))


# --- Logging, imports, caches ---


class SlowHandler(logging.Handler):
    def emit(self, record):
        with crowd:
            os.write(2, b'slow: ' + record.getMessage().encode() + b'\n')


log.addHandler(SlowHandler())
log.setLevel(logging.INFO)


def log_slowly(own):
    log.info('from %s', own)
    return str(crowd.peak)


def import_slow(_):
    module = importlib.import_module('slow_module')
    return str(module.whole)


def import_circular(name):
    module = importlib.import_module(name)
    barrier_of_two.wait(WAIT_S)
    return str(module.other())


barrier_of_two = threading.Barrier(2)
computed = []


@functools.lru_cache
def slow_square(number):
    computed.append(number)
    time.sleep(0.01)
    return number * number


def lru_cache(own):
    return str(slow_square(int(own) % 4))


class Expensive:
    @functools.cached_property
    def value(self):
        computed.append('value')
        time.sleep(0.05)
        return object()


expensive = Expensive()


def cached_property(_):
    return f'{id(expensive.value)} {computed.count("value")}'


# --- Owners ---


def own_rlock(_):
    rlock.acquire()
    barrier_of_two.wait(WAIT_S)  # The other looks.
    barrier_of_two.wait(WAIT_S)
    rlock.release()
    return 'released'


def envy_rlock(_):
    barrier_of_two.wait(WAIT_S)
    got = rlock.acquire(blocking=False)
    try:
        rlock.release()
        answer = 'released'
    except RuntimeError as error:
        answer = str(error)
    barrier_of_two.wait(WAIT_S)
    return f'{got} {answer}'


def open_database(_):
    shared['database'] = sqlite3.connect(':memory:')
    assert shared['database'].execute('select 1').fetchone() == (1,)
    barrier_of_two.wait(WAIT_S)
    barrier_of_two.wait(WAIT_S)
    shared['database'].close()
    return 'closed'


def use_database(_):
    barrier_of_two.wait(WAIT_S)
    try:
        return str(shared['database'].execute('select 1').fetchone())
    except sqlite3.ProgrammingError as error:
        return str(error)
    finally:
        barrier_of_two.wait(WAIT_S)


# --- Timeouts ---


def time_out(query):
    """Every way to give up: each after its time, none much before."""
    limit = float(query)
    held = threading.Lock()
    held.acquire()
    never = threading.Condition()
    waits = [
        lambda: held.acquire(timeout=limit),
        lambda: threading.Event().wait(limit),
        lambda: threading.Semaphore(0).acquire(timeout=limit),
        lambda: not raises(queue.Empty, queue.Queue().get, timeout=limit),
        lambda: not raises(queue.Empty, queue.SimpleQueue().get, timeout=limit),
        lambda: not raises(concurrent.futures.TimeoutError, concurrent.futures.Future().result, limit),
        lambda: not raises(threading.BrokenBarrierError, threading.Barrier(2).wait, limit),
        lambda: with_lock(never, lambda: never.wait(limit)),
    ]
    for number, wait in enumerate(waits):
        started = time.monotonic()
        assert not wait(), number
        assert time.monotonic() - started >= limit, number
    return 'timed out'


def raises(kind, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except kind:
        return True


def with_lock(held, function):
    with held:
        return function()


# --- Stress ---

orders = queue.Queue(maxsize=10)
total = 0


def serve_orders():
    while True:
        number, reply = orders.get()
        reply.put(number + 1)


def start_servers(_):
    for _ in range(8):
        threading.Thread(target=serve_orders, daemon=True).start()
    return 'started'


def stress(_):
    """Asks the threads 20 times, and counts under a lock held across a wait."""
    global total
    for number in range(20):
        reply = queue.SimpleQueue() if number % 2 else queue.Queue()
        orders.put((number, reply), timeout=WAIT_S)
        assert reply.get(timeout=WAIT_S) == number + 1
        assert lock.acquire(timeout=WAIT_S)
        before = total
        if number % 10 == 0:
            time.sleep(0)
        total = before + 1
        lock.release()
    return 'done'


def read_total(_):
    return str(total)


# --- The loop and a request's lock ---


def on_signal(*_):
    with lock:
        os.write(2, b'the handler has the lock\n')


signal.signal(signal.SIGWINCH, on_signal)


def hold_while_signalled(_):
    with lock:
        os.kill(os.getpid(), signal.SIGWINCH)
        time.sleep(0.2)
        os.write(2, b'the request gives the lock back\n')
    return 'released'


def application(environ, start_response):
    body = globals()[environ['PATH_INFO'][1:]](environ['QUERY_STRING']).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
