"""What a run found: results.json, and the tables drawn from it."""
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess

import servers
from measure import HERE

HEAD = """# Results

Written by `make bench` from [results.json](results.json), which has every round; README.md says how to read them. Median
(least-most) of interleaved runs.
"""


def new(quick):
    """The results of a run that begins now."""
    return {'date': str(datetime.date.today()), 'commit': commit(), 'quick': quick, 'machine': machine(), 'rows': {}}


def output_of(*command):
    try:
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


def commit():
    git = ['git', '-C', str(servers.ROOT)]
    changed = output_of(*git, 'status', '--porcelain', '--', 'plugin', 'suspend') not in ('', 'unknown')
    return output_of(*git, 'rev-parse', '--short', 'HEAD') + (' with changes' if changed else '')


def machine():
    cpuinfo = pathlib.Path('/proc/cpuinfo').read_text()
    model = next((line.split(':', 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith('model name')), 'unknown')
    return {'cpus': os.cpu_count(), 'model': model, 'linux': platform.release(), 'uwsgi': output_of('uwsgi', '--version'),
            'python': output_of('uwsgi', '--plugin', 'python3', '--python-version').replace('\n', ' '), 'backlog': servers.backlog(),
            'load': round(os.getloadavg()[0], 1)}


def of_row(row, seconds):
    """A Row in JSON's terms."""
    values = {contender: {metric: [float(f'{value:.6g}') for value in of] for metric, of in figures.items()}
              for contender, figures in row.values.items()}
    targets = [{'text': target.text, 'figure': target.reached(row), 'limit': target.limit, 'at_least': target.at_least}
               for target in row.targets]
    rounds = max((len(values) for figures in row.values.values() for values in figures.values()), default=0)
    return {'title': row.title, 'how': row.how, 'size': row.size, 'down': row.down, 'rounds': rounds, 'seconds': round(seconds, 1),
            'units': row.units, 'values': values, 'targets': targets, 'notes': list(dict.fromkeys(row.notes))}


def of_failure(name, error, seconds):
    return {'title': name, 'failed': f'{type(error).__name__}: {error}', 'seconds': round(seconds, 1)}


def save(results, folder):
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    # The rounds of a figure on one line.
    text = re.sub(r'\[\s+([-+.\de,\s]+?)\s+\]', lambda values: '[' + re.sub(r'\s+', ' ', values[1]) + ']', text)
    (folder / 'results.json').write_text(text + '\n')


def load(folder):
    return json.loads((folder / 'results.json').read_text())


# --- Tables ----------------------------------------------------------------------------------

def number(value):
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.3g}'


def cell(values):
    if not values:
        return '-'
    median = number(statistics.median(values))
    if len(values) == 1 or min(values) == max(values):
        return median
    return f'{median} ({number(min(values))}-{number(max(values))})'


def verdict(target, row):
    figure = target['figure']
    if figure is None:
        return f'{target["text"]}: not measured'
    met = figure >= target['limit'] if target['at_least'] else figure <= target['limit']
    lost = int(sum(row['values'].get(HERE, {}).get('failed', [])))
    return f'{target["text"]}: {figure:.3g}, {"met" if met else "MISSED"}' + (f', but {lost} requests failed' if lost else '')


def lines_of(row):
    """Title line and lines of the row's table."""
    units, values = row['units'], row['values']
    if row['down']:
        return ['', *values], [[label, *(cell(figures.get(metric)) for figures in values.values())] for metric, label in units.items()]
    return ['', *units.values()], [[contender, *(cell(figures.get(metric)) for metric in units)] for contender, figures in values.items()]


def as_line(cells):
    return '| ' + ' | '.join(cells) + ' |'


def table(row):
    """Of one row, with what it missed."""
    if 'failed' in row:
        return f'## {row["title"]}\n\n- not measured: {row["failed"]}\n'
    head, lines = lines_of(row)
    text = [f'## {row["title"]}', '', row['how'] + '.', '', as_line(head).replace('|  |', '| |'), '|' + ' --- |' * len(head),
            *map(as_line, lines), '']
    text += [f'- {verdict(target, row)}' for target in row['targets']]
    text += [f'- not measured: {note}' for note in row['notes']]
    return '\n'.join(text).rstrip() + '\n'


def page(results, plots):
    """RESULTS.md. plots: file: what it shows."""
    here = results['machine']
    lines = [
        f'- {results["date"]}, commit {results["commit"]}' + (', few rounds' if results['quick'] else ''),
        f'- {here["cpus"]} x {here["model"]}, Linux {here["linux"]}; backlog {here["backlog"]:,} (net.core.somaxconn allows no more, or 4,096)',
        f'- uWSGI {here["uwsgi"]}, Python {here["python"]}',
        f'- load average at the start {here["load"]}: what else runs here is in the figures',
    ]
    pictures = [f'![{shows}](plots/{file})' for file, shows in plots.items()]
    return '\n'.join([HEAD, *lines, '', *(line for picture in pictures for line in (picture, '')),
                      '\n'.join(table(row) for row in results['rows'].values())])
