"""Imports circular_b, which imports this."""
import time

time.sleep(0.1)
import circular_b  # noqa: E402

whole = True


def other():
    return circular_b.whole
