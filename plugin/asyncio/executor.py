"""Executors whose threads are virtual threads of the worker.

They behave like concurrent.futures.ThreadPoolExecutor: in the number of threads, in which thread runs what, and in when
threads end. There are no locks, because a virtual thread may give way between any two of its bytecodes, and the loop,
whose callbacks submit work, must not wait for it. There are only single operations that the GIL makes atomic.
"""
import asyncio
import concurrent.futures
import math
import os
import queue
import threading

KEPT = min(32, (os.cpu_count() or 1) + 4)  # Idle threads: as many as a ThreadPoolExecutor has by default.


class Threads:
    """The state that the threads of an executor share. It does not keep the executor itself alive."""

    def __init__(self, most):
        self.most = most
        self.work = queue.SimpleQueue()
        self.begun = 0
        self.idle = 0
        self.is_shut = False
        self.ended = threading.Event()

    def run(self):
        try:
            while True:
                item = self.next()
                if item is None:
                    return
                item.run()
                del item  # An idle thread keeps nothing alive.
        finally:
            self.begun -= 1
            if self.is_shut and not self.begun:
                self.ended.set()

    def next(self):
        if self.work.empty() and (self.is_shut or self.idle >= KEPT):
            return None
        self.idle += 1
        try:
            return wait_idle(self.work)
        finally:
            self.idle -= 1


class Item:
    def __init__(self, future, function, args, kwargs):
        self.future = future
        self.function = function
        self.args = args
        self.kwargs = kwargs

    def run(self):
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.function(*self.args, **self.kwargs)
        except BaseException as error:
            self.future.set_exception(error)
            self = None  # Breaks the cycle of the exception, its traceback and this frame.
        else:
            self.future.set_result(result)


class VirtualThreadExecutor(concurrent.futures.Executor):
    """Runs functions on virtual threads of the worker, at most `max_workers` at once."""

    def __init__(self, max_workers=None):
        self._threads = Threads(math.inf if max_workers is None else max_workers)

    def submit(self, function, /, *args, **kwargs):
        threads = self._threads
        if threads.is_shut:
            raise RuntimeError('cannot schedule new futures after shutdown')
        future = concurrent.futures.Future()
        threads.work.put(Item(future, function, args, kwargs))
        if threads.work.qsize() > threads.idle and threads.begun < threads.most:
            threads.begun += 1
            start(threads.run)
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        """With `wait`, waits for the threads, unless that would stop the loop on which they run."""
        threads = self._threads
        threads.is_shut = True
        while cancel_futures and not threads.work.empty():
            item = threads.work.get()
            if item is not None:
                item.future.cancel()
        for _ in range(threads.begun):
            threads.work.put(None)
        if not threads.begun:
            threads.ended.set()
        if wait and not on_loop():
            threads.ended.wait()

    def __del__(self):
        self.shutdown(wait=False)


# --- Threads that wait for work ---

idle_queues = {}


def wait_idle(work):
    """work.get(). Meanwhile a worker that ends does not wait for this virtual thread."""
    key = object()
    idle_queues[key] = work
    set_idle(True)
    try:
        return work.get()
    finally:
        set_idle(False)
        idle_queues.pop(key, None)


def end_idle():
    while idle_queues:
        idle_queues.popitem()[1].put(None)


# --- asgiref ---

class AsgirefExecutor(concurrent.futures.Executor):
    """asgiref uses an executor in two ways: sync_to_async() submits where the loop runs, and gets virtual threads.
    async_to_sync() needs a real thread for a loop of its own."""

    def __init__(self, max_workers=None):
        self._max_workers = max_workers
        self._executor = None

    def submit(self, function, /, *args, **kwargs):
        if self._executor is None:
            loop = asyncio._get_running_loop()
            virtual = loop is not None and loop is event_loop()
            kind = VirtualThreadExecutor if virtual else concurrent.futures.ThreadPoolExecutor
            self._executor = kind(max_workers=self._max_workers)
        return self._executor.submit(function, *args, **kwargs)

    def shutdown(self, *args, **kwargs):
        if self._executor is not None:
            self._executor.shutdown(*args, **kwargs)


def update_asgiref(sync):
    sync.ThreadPoolExecutor = AsgirefExecutor
    sync.SyncToAsync.single_thread_executor = AsgirefExecutor(max_workers=1)


# --- anyio: its own pool, but with virtual threads, one for each call ---

class AnyioQueue:
    def __init__(self):
        self.work = queue.SimpleQueue()
        self.put_nowait = self.work.put

    def get(self):
        return wait_idle(self.work)

    def task_done(self):
        pass


def update_anyio(backend):
    original_root = backend.find_root_task
    threads_end = {}  # For each loop, the future that anyio takes for the task with which its threads end.

    def is_workers(loop):
        return loop is event_loop()

    def find_root_task():
        loop = asyncio.get_running_loop()
        if not is_workers(loop):
            return original_root()
        if loop not in threads_end:
            threads_end[loop] = loop.create_future()
        return threads_end[loop]

    class WorkerThread(backend.WorkerThread):
        def start(self):
            if is_workers(self.loop):
                self.queue = AnyioQueue()
                start(self.run)
            else:
                super().start()

    class NoLimit:
        """anyio allows 40 threads, to limit memory and thread switches. Virtual threads do not need this limit."""

        def __init__(self, variable):
            self.variable = variable

        def get(self):
            try:
                return self.variable.get()
            except LookupError:
                if not is_workers(asyncio.get_running_loop()):
                    raise
                self.variable.set(backend.CapacityLimiter(math.inf))
                return self.variable.get()

        def set(self, value):
            return self.variable.set(value)

    backend.find_root_task = find_root_task
    backend.WorkerThread = WorkerThread
    backend._default_thread_limiter = NoLimit(backend._default_thread_limiter)


def make(start_function, set_idle_function, on_loop_function, event_loop_function):
    global start, set_idle, on_loop, event_loop
    start, set_idle, on_loop, event_loop = start_function, set_idle_function, on_loop_function, event_loop_function
    return VirtualThreadExecutor, end_idle, update_asgiref, update_anyio
