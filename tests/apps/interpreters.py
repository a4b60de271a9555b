"""Requests that run further interpreters (Py_NewInterpreter)."""
import threading
import time

import _testcapi
from router import serve

try:
    import _interpreters as interpreters  # From 3.13 on.

    SHARES_ALL = {'config': 'legacy'}
except ImportError:
    import _xxsubinterpreters as interpreters

    SHARES_ALL = {'isolated': False}

lock = threading.Lock()


def run_in_another(code):
    interpreter = interpreters.create(**SHARES_ALL)
    failed = interpreters.run_string(interpreter, code)  # Up to 3.12 it raises.
    assert failed is None, failed
    interpreters.destroy(interpreter)


def assign(n):
    run_in_another(f'x = {n}')
    return n


def from_c(n):
    """As C code that embeds another interpreter does."""
    return n if _testcapi.run_in_subinterp(f'x = {n}') == 0 else 'failed'


def sleep(n):
    """A wait below the other interpreter, and this one's own locks and state after it."""
    run_in_another('import time; time.sleep(0.2)')
    with lock:
        time.sleep(0.01)
    return n


def compute(n):
    """Gives way by quantum in the other interpreter."""
    run_in_another('import time\nend = time.monotonic() + 0.2\nwhile time.monotonic() < end: sum(range(1000))')
    return n


def threads(n):
    """The other interpreter has a thread of its own, and waits for it."""
    run_in_another('import threading, time; t = threading.Thread(target=time.sleep, args=(0.1,)); t.start(); t.join()')
    return n


application = serve({f'/{view.__name__}': view for view in (assign, from_c, sleep, compute, threads)})
