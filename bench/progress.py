"""Tells on standard error how far a run is: one line that changes on a terminal, else a line for each row."""
import shutil
import sys
import time


class Quiet:
    def step(self, contender, number, rounds, share):
        """The contender is measured now; `share` of the row's work is done."""

    def figures(self, contender, text):
        """What was just measured."""


def minutes(seconds):
    return f'{int(seconds) // 60}:{int(seconds) % 60:02}'


class Progress(Quiet):
    """`expected`: seconds each row took in an earlier run, as far as known."""

    def __init__(self, names, expected, out=None, clock=time.monotonic):
        self.names, self.expected, self.out, self.clock = list(names), dict(expected), out or sys.stderr, clock
        self.terminal = self.out.isatty()
        self.took = {}  # Row: seconds, of those done.
        self.started = self.row_started = clock()
        self.name, self.shown = None, False

    def begin(self, name):
        self.name, self.row_started = name, self.clock()
        if self.terminal:
            self.show(self.where())

    def step(self, contender, number, rounds, share):
        if self.terminal:
            self.show(f'{self.where()}: {contender}, round {number} of {rounds}; {self.times(share)}')

    def figures(self, contender, text):
        if self.terminal:
            self.clear()
            print(f'  {contender}: {text}', file=self.out, flush=True)

    def end(self, outcome='done'):
        where = self.where()
        self.took[self.name] = self.clock() - self.row_started
        self.clear()
        print(f'{where} {outcome} in {self.took[self.name]:.0f} s; {self.times()}', file=self.out, flush=True)
        self.name = None

    def where(self):
        return f'[{self.names.index(self.name) + 1}/{len(self.names)}] {self.name}'

    def times(self, share=0):
        left = self.remaining_s(share)
        return f'{minutes(self.clock() - self.started)} so far' + ('' if left is None else f', about {minutes(left)} left')

    def remaining_s(self, share=0):
        """An estimate: what the rows took before, at the pace of this run; None with nothing to go by."""
        known = [name for name in self.took if name in self.expected]
        before = sum(self.expected[name] for name in known)
        pace = sum(self.took[name] for name in known) / before if before else 1
        guesses = {name: seconds * pace for name, seconds in self.expected.items()}
        typical = list(self.took.values()) or list(guesses.values())
        if not typical and share:
            typical = [(self.clock() - self.row_started) / share]
        if not typical:
            return None
        left = 0
        for name in self.names:
            if name not in self.took:
                guess = guesses.get(name, sum(typical) / len(typical))
                left += guess * (1 - share) if name == self.name else guess
        return left

    def show(self, text):
        room = shutil.get_terminal_size().columns - 1  # A line that wraps could not be taken back.
        print(f'\r\x1b[K{text[:room]}', end='', file=self.out, flush=True)
        self.shown = True

    def clear(self):
        if self.shown:
            print('\r\x1b[K', end='', file=self.out, flush=True)
            self.shown = False
