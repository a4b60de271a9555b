#!/usr/bin/env python3
"""Measures rows here and on another Debian in turn: platforms.py [--quick] [--rounds N] [--release RELEASE] [ROW...].

The other is a tree of `tools/platform`; make and tools/install-deps have been run there (make bench-platforms). What each
platform has is compared with that platform's own servers: its ratios should be the same. Both tables are printed.
"""
import argparse
import contextlib
import json
import os
import statistics
import subprocess

from measure import HERE
import servers

ROWS = ('hello', 'kept', 'timer', 'query', 'fetch', 'busy_thread')
# The ratio is to the first of these that a row has; `kept` alone has none, as neither keeps connections alive.
PEERS = ('uWSGI sync', 'uWSGI --threads', 'uWSGI --gevent')
RESULTS = 'build/bench/platforms'


def measure(platform, rows, number, quick):
    """The results of one run there: row: contender: metric: values."""
    folder = f'{RESULTS}/{platform}-{number}'
    prefix = [] if platform == 'here' else [str(servers.ROOT / 'tools' / 'platform'), platform]
    python = '/usr/bin/python3'
    command = [*prefix, python, 'bench/run.py', *(['--quick'] if quick else []), *rows, '--out', folder]
    with contextlib.suppress(subprocess.CalledProcessError):  # A row failed, and says so in its results.
        subprocess.run(command, check=True, cwd=servers.ROOT, stdout=subprocess.DEVNULL)
    text = subprocess.check_output([*prefix, 'cat', f'{folder}/results.json'], text=True, cwd=servers.ROOT)
    return json.loads(text)['rows']


def gathered(runs):
    """row, metric, contender: its values of all runs."""
    values = {}
    for rows in runs:
        for name, row in rows.items():
            for contender, figures in row.get('values', {}).items():
                for metric, seen in figures.items():
                    values.setdefault((name, metric), {}).setdefault(contender, []).extend(seen)
    return values


def ratio(figures, own, peer):
    """Of medians; None where one is missing or 0."""
    if own not in figures or peer not in figures:
        return None
    of_peer = statistics.median(figures[peer])
    return statistics.median(figures[own]) / of_peer if of_peer else None


def lines(one, other):
    """Markdown: each ratio of both platforms, and one by the other."""
    for (row, metric), figures in one.items():
        for own in (name for name in figures if name.startswith(HERE)):
            for peer in (*PEERS, HERE):
                if peer == own:
                    continue
                ratios = [ratio(figures, own, peer), ratio(other.get((row, metric), {}), own, peer)]
                if None not in ratios and ratios[0]:
                    yield f'| {row}: {metric} | {own} / {peer} | {ratios[0]:.3g} | {ratios[1]:.3g} | {ratios[1] / ratios[0]:.2f} |'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='fewer rounds and requests in each run')
    parser.add_argument('--rounds', type=int, default=2, help='runs on each platform, in turn')
    parser.add_argument('--release', default=os.environ.get('RELEASE', 'trixie'), help='the other Debian')
    parser.add_argument('row', nargs='*', default=ROWS)
    asked = parser.parse_args()
    runs = {'here': [], asked.release: []}
    for number in range(asked.rounds):
        for platform, found in runs.items():
            print(f'run {number + 1} of {asked.rounds} on {platform}', flush=True)
            found.append(measure(platform, asked.row, number, asked.quick))
    one, other = (gathered(found) for found in runs.values())
    print(f'\n| row: figure | ratio | here | {asked.release} | {asked.release} / here |\n| --- | --- | --- | --- | --- |')
    table = list(lines(one, other))
    print('\n'.join(table))
    for (row, metric), figures in one.items():
        for name, seen in figures.items():
            there = other.get((row, metric), {}).get(name)
            if there and name.startswith((HERE, 'uWSGI')):
                print(f'{row}, {metric}, {name}: {statistics.median(seen):.4g} here, {statistics.median(there):.4g} on {asked.release}')
    return 0 if table else 1


if __name__ == '__main__':
    raise SystemExit(main())
