"""Imports circular_a, which imports this."""
import time

time.sleep(0.1)
import circular_a  # noqa: E402

whole = True


def other():
    return circular_a.whole
