"""How a row is measured: contenders in turn, load on each, figures by round."""
import contextlib
import dataclasses
import functools
import http.client
import json
import statistics
import subprocess

import progress
import servers
from servers import Missing

HERE = 'uwsgi-tornado'
REQUEST_UNITS = {'us': 'CPU µs a request', 'rate': 'requests/s', 'failed': 'failed'}
NOT_MEASURED = (Missing, OSError, ValueError, subprocess.SubprocessError, http.client.HTTPException)
watcher = progress.Quiet()  # Is told what is measured now; run.py sets a better one.


@dataclasses.dataclass
class Row:
    title: str
    how: str
    units: dict                       # Metric: how it is printed.
    targets: list = dataclasses.field(default_factory=list)
    size: int = None                  # How many wait at once, where rows differ in nothing else.
    down: bool = False                # The table has a line for each metric and a column for each contender.
    values: dict = dataclasses.field(default_factory=dict)   # Contender: metric: a value for each round.
    notes: list = dataclasses.field(default_factory=list)

    def add(self, contender, figures):
        for metric, value in figures.items():
            if metric in self.units:
                self.values.setdefault(contender, {}).setdefault(metric, []).append(value)

    def median(self, contender, metric):
        """None where it was not measured."""
        seen = self.values.get(contender, {}).get(metric)
        return statistics.median(seen) if seen else None


@dataclasses.dataclass
class Target:
    """`figure` of the row (None where a contender is missing) should be at most, or at least, `limit`."""
    text: str
    figure: object
    limit: float
    at_least: bool = False

    def reached(self, row):
        try:
            return self.figure(row)
        except TypeError:  # Arithmetic with a contender that is missing.
            return None


# --- Load ------------------------------------------------------------------------------------

@functools.lru_cache(maxsize=None)
def load_program():
    return servers.build('load')


def load_command(server, path, connections, requests=0, seconds=0, keep_alive=False, ramp_ms=0, timeout=30, post=0):
    much = ['--requests', str(requests)] if requests else ['--seconds', str(seconds)]
    return [str(load_program()), str(server.port), path, '--connections', str(connections), *much, '--ramp-ms', str(ramp_ms),
            '--timeout', str(timeout), '--post', str(post), *(['--keep-alive'] if keep_alive else [])]


def load(server, path, connections, **how):
    """Figures of one run; `us` is the server's CPU time, user and system, for each request."""
    before = server.cpu_s()
    figures = json.loads(subprocess.check_output(load_command(server, path, connections, **how)))
    if not server.is_running():
        raise Missing(f'{server.name} ended while it was measured: {server.last_words()}')
    if figures['ok'] == 0:
        raise Missing(f'{server.name} answered none of {figures["failed"]} requests')
    figures['us'] = (server.cpu_s() - before) / figures['ok'] * 1e6
    return figures


def get(server, path, timeout=60):
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request('GET', path)
        return connection.getresponse().read()


# --- Contenders in turn ----------------------------------------------------------------------

def try_to(row, what, name=None):
    """what(), or None where that cannot be measured: the row notes why and goes on without it."""
    try:
        return what()
    except NOT_MEASURED as error:
        reason = str(error) if isinstance(error, Missing) else f'{type(error).__name__}: {error}'
        row.notes.append(f'{name}: {reason}' if name and name not in reason else reason)
        watcher.figures(name or '-', f'not measured: {reason}')
        return None


class Closing:
    def __init__(self, server):
        self.server = server

    def close(self):
        self.server.stop()


def start_all(row, makers, running):
    """Those that start; why the others did not is noted."""
    started = []
    for make in makers:
        server = try_to(row, make)
        if server is not None:
            running.enter_context(contextlib.closing(Closing(server)))
            started.append(server)
    return started


def take(row, name, number, rounds, share, measure):
    """One contender's figures of one round; False where they cannot be had."""
    watcher.step(name, number + 1, rounds, share)
    figures = try_to(row, measure, name)
    if figures is None:
        return False
    row.add(name, figures)
    watcher.figures(name, ', '.join(f'{value:.4g} {row.units[metric]}' for metric, value in figures.items() if metric in row.units))
    return True


def in_turn(row, contenders, rounds, name_of, measure):
    """A B C A B C ...: what the machine does meanwhile falls on all alike. Who fails takes no further part."""
    left = list(contenders)
    for number in range(rounds):
        taking_part = list(left)
        for index, one in enumerate(taking_part):
            share = (number + index / len(taking_part)) / rounds
            if not take(row, name_of(one), number, rounds, share, lambda: measure(one)):
                left.remove(one)
    return row


def interleave(row, makers, rounds, measure, warm_up=None):
    """All run all the time, and are measured in turn."""
    with contextlib.ExitStack() as running:
        contenders = start_all(row, makers, running)
        if warm_up:
            for server in contenders:
                try_to(row, lambda: warm_up(server), server.name)
        return in_turn(row, contenders, rounds, lambda server: server.name, measure)


def interleave_afresh(row, makers, rounds, measure):
    """As interleave, but each measurement has a server of its own. makers: name: how it is started."""
    def measure_one(name):
        with contextlib.closing(Closing(makers[name]())) as running:
            return measure(running.server)
    return in_turn(row, makers, rounds, lambda name: name, measure_one)


def at_once(row, makers, rounds, path, requests, timeout=60):
    def measure(server):
        return load(server, path, requests, requests=requests, timeout=timeout)
    return interleave(row, makers, rounds, measure, measure)
