#!/usr/bin/env python3
"""Measures the engine beside its peers: run.py [--quick] [ROW...]; all rows but those of applications without a name.

A run of every row in full writes results.json, RESULTS.md and plots/; others only print, or write to --out FOLDER.
No figure is a failure.
"""
import argparse
import pathlib
import resource
import signal
import sys
import time
import traceback

import measure
import results
import servers
from progress import Progress


def draw(found, folder):
    """RESULTS.md and plots/ from the results."""
    try:
        import plots
        drawn = plots.draw(found, folder / 'plots')
    except ImportError as error:
        drawn = {}
        print(f'run.py: no plots: {error} (tools/install-deps)', file=sys.stderr)
    (folder / 'RESULTS.md').write_text(results.page(found, drawn))


def chosen(asked, known):
    """The rows named, each by its name or by what comes before its number (`latency`)."""
    names = []
    for name in asked:
        found = [name] if name in known else [one for one in known if one.rpartition('_')[0] == name and one.rpartition('_')[2].isdigit()]
        if not found:
            raise SystemExit(f'run.py: no row {name}; there are {", ".join(known)}')
        names += found
    return names


def seconds_before(quick):
    """How long each row took in the run that results.json is of."""
    try:
        before = results.load(servers.HERE)
    except (OSError, ValueError):
        return {}
    return {name: row['seconds'] for name, row in before['rows'].items() if before['quick'] == quick}


def measure_row(make, name, quick):
    """Its results; those of a row that fails say why."""
    started = time.monotonic()
    try:
        row = make(quick)
    except Exception as error:  # Whatever it is, the other rows are measured.
        measure.watcher.end('FAILED')
        traceback.print_exc()
        return results.of_failure(name, error, time.monotonic() - started)
    measure.watcher.end()
    return results.of_row(row, time.monotonic() - started)


def measure_all(names, rows, quick, keep):
    """keep: the folder for what there is so far."""
    found = results.new(quick)
    measure.watcher = Progress(names, seconds_before(quick))
    for name in names:
        measure.watcher.begin(name)
        found['rows'][name] = measure_row(rows[name], name, quick)
        print(f'\n{results.table(found["rows"][name])}', flush=True)
        results.save(found, keep)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='fewer rounds and requests')
    parser.add_argument('--draw', action='store_true', help='measure nothing: write RESULTS.md and plots/ from results.json')
    parser.add_argument('--out', type=pathlib.Path, metavar='FOLDER', help='where files are written (bench/ for every row in full)')
    parser.add_argument('row', nargs='*', help='which rows; --list names them')
    parser.add_argument('--list', action='store_true', help='name the rows')
    parser.add_argument('--applications', action='store_true', help='every row of applications.py in full, written to bench/applications/')
    asked = parser.parse_args()
    if asked.draw:
        folder = asked.out or servers.HERE
        return draw(results.load(folder), folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('run.py: ended'))  # With the servers it started.
    import rows
    if asked.list:
        return print('\n'.join(rows.ALL))
    by_default = rows.APPLICATIONS if asked.applications else rows.ROWS
    names = chosen(asked.row, rows.ALL) if asked.row else [*by_default]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found = measure_all(names, rows.ALL, asked.quick, servers.BUILD)
    whole = servers.HERE / 'applications' if asked.applications else servers.HERE
    folder = asked.out or (None if asked.row or asked.quick else whole)
    if folder:
        results.save(found, folder)
        draw(found, folder)
    failed = [name for name, row in found['rows'].items() if 'failed' in row]
    if failed:
        sys.exit(f'run.py: failed: {", ".join(failed)}')


if __name__ == '__main__':
    main()
