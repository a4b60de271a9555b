"""Greenlets of the greenlet package that one request leaves and another meets."""
import gc
import threading
import time

import greenlet

from router import serve

kept = {}
killed_in = []
dropped = threading.Event()


def waits_for_its_end():
    try:
        greenlet.getcurrent().parent.switch()
    finally:
        killed_in.append(threading.get_ident())


def far_below(depth, function):
    return far_below(depth - 1, function) if depth else function()


def keep(n):
    """Leaves a greenlet in the middle of its work and waits; then uses greenlets again."""
    child = greenlet.greenlet(waits_for_its_end)
    far_below(50, child.switch)
    kept[n] = child
    del child
    dropped.wait(10)
    before = list(killed_in)
    greenlet.greenlet(lambda: None).switch()  # As for threads: its own are ended now.
    return f'{threading.get_ident() in before} {threading.get_ident() in killed_in}'


def drop(n):
    kept.clear()
    gc.collect()
    far_below(200, time.monotonic)
    dropped.set()
    return threading.get_ident() in killed_in


def switch(n):
    try:
        return kept[n].switch()
    except greenlet.error as error:
        return error


def compute(n):
    """Back and forth between two greenlets, long enough to give way in either."""
    def adds():
        total = 0
        while True:
            number = main.switch(total)
            for i in range(200):
                total += number * i % 7

    main = greenlet.getcurrent()
    other = greenlet.greenlet(adds)
    other.switch()
    for i in range(300):
        total = other.switch(n + i)
        time.sleep(0 if i % 50 else 0.001)
    return f'{n} {total}'


application = serve({'/keep': keep, '/drop': drop, '/switch': switch, '/compute': compute,
                     '/kept': lambda n: len(kept)})
