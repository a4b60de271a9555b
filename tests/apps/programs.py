"""Random programs with waits strewn in: whether a wait waits must not change what they compute.

run(seed, wait) is one program; its result tells everything it saw on the way.
"""
import contextlib
import contextvars
import ctypes
import decimal
import gc
import random
import sys
import threading
import time

variable = contextvars.ContextVar('step', default=0)
local = threading.local()
COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
libc = ctypes.CDLL(None)


class Program:
    def __init__(self, seed, wait):
        self.random = random.Random(seed)
        self.wait = wait
        self.seen = []

    def note(self, *what):
        self.seen.append(what)

    def block(self, depth):
        for _ in range(self.random.randint(1, 3)):
            kind = self.random.choice(self.KINDS if depth > 0 else self.LEAVES)
            kind(self, depth - 1)

    def pause(self, _):
        self.wait()

    def state(self, _):
        error = sys.exc_info()[1]
        self.note('state', error and error.args, error and error.__context__ and error.__context__.args,
                  variable.get(), getattr(local, 'value', None), decimal.getcontext().prec)

    def set_variable(self, _):
        variable.set(self.random.randrange(1000))

    def set_local(self, _):
        local.value = self.random.randrange(1000)

    def handler(self, depth):
        label = self.random.randrange(1000)
        try:
            self.block(depth)
            raise ValueError(label)
        except ValueError as error:
            self.wait()
            self.note('caught', error.args, sys.exc_info()[1] is error)
            self.block(depth)
        finally:
            self.wait()
            self.state(depth)

    def escaping(self, depth):
        with contextlib.suppress(KeyError):
            try:
                self.block(depth)
            finally:
                self.wait()
                raise KeyError(len(self.seen))

    def generator(self, depth):
        def produce():
            for number in range(2):
                try:
                    self.block(depth)
                    yield number
                finally:
                    self.wait()

        for number in produce():
            self.note('yielded', number)
            self.wait()

    def with_block(self, depth):
        @contextlib.contextmanager
        def manager():
            self.note('enter')
            self.wait()
            try:
                yield
            finally:
                self.wait()
                self.note('exit')

        with manager(), decimal.localcontext() as context:
            context.prec = self.random.randint(3, 30)
            self.block(depth)
            self.note(str(decimal.Decimal(1) / 7))

    def call_back(self, depth):
        numbers = [self.random.randrange(100) for _ in range(5)]

        def compare(a, b):
            self.wait()
            return a[0] - b[0]

        array = (ctypes.c_int * len(numbers))(*numbers)
        libc.qsort(array, len(numbers), ctypes.sizeof(ctypes.c_int), COMPARE(compare))
        self.note('sorted', list(array))
        ctypes.CFUNCTYPE(None)(lambda: self.block(depth))()

    def sort(self, depth):
        def key(number):
            self.wait()
            return -number

        self.note(sorted([self.random.randrange(100) for _ in range(3)], key=key))
        self.block(depth)

    def collect(self, _):
        cycle = [self]
        cycle.append(cycle)
        del cycle
        gc.collect(0)

    LEAVES = [pause, state, set_variable, set_local, collect]
    KINDS = [*LEAVES, handler, escaping, generator, with_block, call_back, sort]


def run(seed, wait):
    """The whole course of program `seed`, as text."""
    program = Program(seed, wait)
    local.value = None
    decimal.getcontext().prec = 28
    for _ in range(6):
        program.block(4)
    return repr(program.seen)


def random_wait(seed):
    """Waits of a random kind; they do not draw from the program's own numbers."""
    own = random.Random(seed)
    event = threading.Event()
    return lambda: own.choice([lambda: None, lambda: time.sleep(0.001), lambda: event.wait(0.001),
                               lambda: time.sleep(0)])()


def random_computation(seed):
    """Computes instead: a wait only where the quantum ends."""
    own = random.Random(seed)

    def compute():
        until = time.perf_counter() + own.choice([0, 0.0001, 0.0005])
        while time.perf_counter() < until:
            sum(range(50))

    return compute


def answer(environ):
    if environ['PATH_INFO'] == '/preempted':
        import uwsgi_tornado  # Not above: the tests load this module without a server, too.
        return str(uwsgi_tornado.blocking_report()['preempted'])
    seed = int(environ['QUERY_STRING'])
    wait = random_computation if environ['PATH_INFO'] == '/compute' else random_wait
    return run(seed, wait(seed))


def application(environ, start_response):
    body = answer(environ).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
