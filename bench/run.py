#!/usr/bin/env python3
"""Measures the engine beside its peers: run.py [--quick] [ROW...]; all rows without a name.

A run of every row in full writes RESULTS.md; others only print. No figure is a failure.
"""
import argparse
import datetime
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import time

import rows
import servers


def number(value):
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.3g}'


def cell(values):
    if not values:
        return '-'
    median = number(statistics.median(values))
    if len(values) == 1 or min(values) == max(values):
        return median
    return f'{median} ({number(min(values))}-{number(max(values))})'


def as_table(row):
    lines = [f'## {row.title}', '', row.how + '.', '', '| | ' + ' | '.join(row.units.values()) + ' |',
             '| --- |' + ' --- |' * len(row.units)]
    for contender, figures in row.values.items():
        lines.append(f'| {contender} | ' + ' | '.join(cell(figures.get(metric)) for metric in row.units) + ' |')
    lines.append('')
    lines += [f'- {target.verdict(row)}' for target in row.targets]
    lines += [f'- not measured: {note}' for note in dict.fromkeys(row.notes)]
    return '\n'.join(lines) + '\n'


def output_of(*command):
    try:
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


def machine():
    cpuinfo = pathlib.Path('/proc/cpuinfo').read_text()
    model = next((line.split(':', 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith('model name')), 'unknown')
    changed = ' with changes' if output_of('git', '-C', str(servers.ROOT), 'status', '--porcelain', '--', 'plugin', 'suspend') else ''
    return [
        f'- {datetime.date.today()}, commit {output_of("git", "-C", str(servers.ROOT), "rev-parse", "--short", "HEAD")}{changed}',
        f'- {os.cpu_count()} x {model}, Linux {platform.release()}',
        f'- uWSGI {output_of("uwsgi", "--version")}, Python {output_of("uwsgi", "--plugin", "python3", "--python-version")}',
        f'- load average at the start {os.getloadavg()[0]:.1f}: what else runs here is in the figures',
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='fewer rounds and requests')
    parser.add_argument('row', nargs='*', help='which rows: ' + ', '.join(rows.ROWS))
    asked = parser.parse_args()
    unknown = set(asked.row) - set(rows.ROWS)
    if unknown:
        parser.error(f'no row {", ".join(unknown)}; there are {", ".join(rows.ROWS)}')
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    head = machine()
    tables = []
    for name in asked.row or rows.ROWS:
        started = time.monotonic()
        rows.say(f'{name}:')
        tables.append(as_table(rows.ROWS[name](asked.quick)))
        rows.say(f'\n{tables[-1]}\n({name}: {time.monotonic() - started:.0f} s)\n')
    if not asked.row and not asked.quick:
        text = '# Results\n\nWritten by `make bench`; README.md says how to read them. Median (least-most) of interleaved runs.\n\n'
        (servers.HERE / 'RESULTS.md').write_text(text + '\n'.join(head) + '\n\n' + '\n'.join(tables))


if __name__ == '__main__':
    main()
