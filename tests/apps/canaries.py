"""The canaries of native libraries (native/canaries.h) as functions of Python. CANARIES lists the libraries."""
import ctypes
import functools
import os
import random

on_wait = ctypes.CFUNCTYPE(None)


class Library:
    def __init__(self, path):
        self.name = os.path.basename(path)
        self.without_gil, self.with_gil = ctypes.CDLL(path), ctypes.PyDLL(path)
        for library in (self.without_gil, self.with_gil):
            library.canary_name.restype = ctypes.c_char_p
            library.canary_run.argtypes, library.canary_run.restype = [ctypes.c_int, ctypes.c_long, on_wait], ctypes.c_long

    def calls(self):
        """(name, function of a number and a callback) of each; a canary that waits for no lock is there with the GIL kept, too."""
        for which in range(self.with_gil.canaries()):
            name = self.with_gil.canary_name(which).decode()
            yield f'{name} of {self.name}', functools.partial(self.without_gil.canary_run, which)
            if name.startswith('local_'):
                yield f'{name} of {self.name} with the GIL', functools.partial(self.with_gil.canary_run, which)

    def ended(self):
        """What destructors have found since the last time."""
        owns = (ctypes.c_long * 10000)()
        return owns[:self.without_gil.canaries_ended(owns, len(owns))]


LIBRARIES = [Library(path) for path in os.environ.get('CANARIES', '').split(':') if path]
CALLS = dict(call for library in LIBRARIES for call in library.calls())


def calls_of(part):
    return [name for name in CALLS if part in name]


def run(own, how_to_wait, names=CALLS, chance=random):
    """Runs them in any order; how_to_wait(index) is the callback of each. What was wrong."""
    wrong = []
    for index, name in enumerate(chance.sample(list(names), len(names))):
        got = CALLS[name](own, how_to_wait(index))
        if got != own:
            wrong.append(f'{name}: {got}')
    return wrong
