"""The seed that a run of faults is made from: TORNADO_SEED gives the one of a run that failed."""
import os
import random

SEED = os.environ.get('TORNADO_SEED') or str(random.randrange(10**6))


def seeded(*names):
    """A generator of its own for each part of a run, so that one's use does not change another's."""
    return random.Random(' '.join(map(str, (SEED, *names))))


def reproduced_by():
    return f'TORNADO_SEED={SEED}'
