"""Computes with a lock held, for longer than a request may before it gives way."""
import threading
import time

from router import serve

lock = threading.Lock()


def compute(n):
    with lock:
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            pass
    return n


application = serve({'/': compute})
