"""Draws results.json: SVG files, the same bytes for the same results. A plot shows one thing.

The ground is transparent and the text a grey that is read on white and on black; the colours are those of Okabe and Ito,
which the colour-blind tell apart, and markers differ as well. Marks are medians; whiskers and bands go from the least to the most.
"""
import statistics

import matplotlib

matplotlib.use('svg')
from matplotlib import pyplot, ticker  # noqa: E402 - after use().

HERE = 'uwsgi-tornado'
GREY = '#787878'
PLAIN = (GREY, 'o')
STYLES = {  # Contender: colour and marker.
    HERE: ('#0072B2', 'o'), 'ours': ('#0072B2', 'o'),
    'uWSGI --gevent': ('#D55E00', 's'), 'asyncio': ('#D55E00', 's'),
    'uWSGI --tornado': ('#009E73', '^'),
    'uvicorn': ('#CC79A7', 'D'),
    'uWSGI --threads': ('#E69F00', 'v'),
}
LOOK = {
    'svg.hashsalt': HERE, 'svg.fonttype': 'none', 'font.sans-serif': ['DejaVu Sans', 'Verdana', 'Arial'], 'font.size': 11, 'axes.titlesize': 10,
    'savefig.transparent': True, 'axes.spines.top': False, 'axes.spines.right': False, 'legend.frameon': False,
    'grid.color': GREY, 'grid.alpha': 0.3, 'lines.linewidth': 1.8, 'lines.markersize': 6,
    **{name: GREY for name in ('text.color', 'axes.labelcolor', 'axes.edgecolor', 'axes.titlecolor', 'xtick.color', 'ytick.color')},
}

TICKS = (1, 2, 5)


def style_of(contender):
    return STYLES.get(contender, PLAIN)


def spread(values):
    """(median, least, most)."""
    return statistics.median(values), min(values), max(values)


def plain(value, _=None):
    """A number on an axis: no powers of ten."""
    return f'{value:,.0f}' if value >= 1 else f'{value:g}'


def measured(rows, name, metric):
    """Contender: values of the metric in that row, if any."""
    figures = rows.get(name, {}).get('values', {})
    return {contender: of[metric] for contender, of in figures.items() if of.get(metric)}


def by_size(rows, prefix, metric):
    """Contender: [(size, values)] over the rows that differ in how many wait."""
    curves = {}
    for name in rows:
        if name.startswith(f'{prefix}_') and rows[name].get('size'):
            for contender, values in measured(rows, name, metric).items():
                curves.setdefault(contender, []).append((rows[name]['size'], values))
    return {contender: sorted(points) for contender, points in curves.items()}


def axes(title, width=7.5, height=3.6, columns=1):
    figure, made = pyplot.subplots(1, columns, figsize=(width, height), sharey=True, squeeze=False, constrained_layout=columns == 1)
    figure.suptitle(title, fontsize=13)
    return figure, list(made[0])


def logarithmic(axis, least, most, ticks=(1,)):
    axis.set_major_locator(ticker.LogLocator(10, ticks))
    axis.set_major_formatter(ticker.FuncFormatter(plain))
    axis.set_minor_locator(ticker.NullLocator())
    axis.axes.set(**{f'{axis.axis_name}lim': (least, most)})


# --- Bars ------------------------------------------------------------------------------------

def cpu(row_name, title):
    """CPU time of a request, the cheapest first."""
    def draw(rows):
        values = measured(rows, row_name, 'us')
        values.pop('--tornado-quantum 0', None)  # What the watchdog costs is a row of the table, not of the peers.
        if not values:
            return None
        order = sorted(values, key=lambda contender: -statistics.median(values[contender]))
        figure, (axis,) = axes(title, height=1.4 + 0.34 * len(order))
        most = max(map(max, values.values()))
        for place, contender in enumerate(order):
            median, low, high = spread(values[contender])
            colour = STYLES[HERE][0] if contender.startswith(HERE) else GREY
            axis.barh(place, median, 0.62, color=colour, alpha=0.5)
            axis.errorbar(median, place, xerr=[[median - low], [high - median]], color=colour, capsize=3, linewidth=1.6)
            axis.text(high + most * 0.02, place, plain(median) if median >= 10 else f'{median:.3g}', va='center')
        axis.set_yticks(range(len(order)), order)
        axis.set_xlim(0, most * 1.12)
        axis.set_xlabel('CPU time of the server for a request, µs (median, least to most)')
        return figure
    return draw


# --- Against how many wait -------------------------------------------------------------------

def curve(axis, contender, points, least=None):
    """Medians, and a band over what was seen. Below `least` a logarithmic axis has no room."""
    colour, marker = style_of(contender)
    sizes = [size for size, _ in points]
    medians, lows, highs = zip(*([max(value, least) if least else value for value in spread(values)] for _, values in points))
    axis.fill_between(sizes, lows, highs, color=colour, alpha=0.25, linewidth=0)
    axis.plot(sizes, medians, color=colour, marker=marker, label=contender, linewidth=2.4 if contender == HERE else 1.6,
              zorder=3 if contender == HERE else 2)


def against_size(axis, curves):
    sizes = sorted({size for points in curves.values() for size, _ in points})
    axis.set_xscale('log')
    axis.set_xticks(sizes, [f'{size // 1000}k' if size >= 1000 else str(size) for size in sizes])
    axis.minorticks_off()
    axis.grid(True)


def lateness(rows):
    shares = {'p50': 'p50: half are later', 'p90': 'p90: one in 10 is', 'p99': 'p99: one in 100 is', 'max': 'the latest'}
    curves = {share: by_size(rows, 'latency', f'late_{share}_ms') for share in shares}
    if not curves['p50']:
        return None
    figure, panels = axes('Requests that wait a second: how late they are answered', 10, 4.4, columns=4)
    figure.subplots_adjust(left=0.075, right=0.99, bottom=0.24, top=0.84, wspace=0.08)
    seen = [value for of in curves.values() for points in of.values() for _, values in points for value in values]
    least = 0.1
    for panel, (share, text) in zip(panels, shares.items()):
        for contender, points in curves[share].items():
            curve(panel, contender, points, least)
        against_size(panel, curves[share])
        panel.set_yscale('log')
        panel.set_title(text)
        logarithmic(panel.yaxis, max(least, min(seen) / 2), max(seen) * 2)
    panels[0].set_ylabel('ms beyond the second')
    figure.supxlabel('requests waiting at once', fontsize=11, y=0.11)
    figure.legend(*panels[0].get_legend_handles_labels(), loc='lower center', ncol=5)
    return figure


def memory(rows):
    curves = by_size(rows, 'suspended', 'total_kib')
    if not curves:
        return None
    figure, (axis,) = axes('Memory of a request that waits')
    for contender, points in curves.items():
        curve(axis, contender, points)
    against_size(axis, curves)
    axis.set_ylim(0)
    axis.set_xlabel('requests waiting at once')
    axis.set_ylabel('KiB each, page tables included')
    axis.legend(loc='center left', bbox_to_anchor=(1, 0.5))
    return figure


# --- Marks on lines --------------------------------------------------------------------------

def marks(axis, lines, contenders):
    """lines: label: contender: (median, least, most), one below the other."""
    for row, figures in enumerate(lines.values()):
        for index, contender in enumerate(contenders):
            if contender in figures:
                colour, marker = style_of(contender)
                median, low, high = figures[contender]
                place = row + (index - (len(contenders) - 1) / 2) * 0.2
                axis.errorbar(median, place, xerr=[[median - low], [high - median]], color=colour, marker=marker, capsize=3,
                              linestyle='none', linewidth=1.4, label=contender)
    axis.set_yticks(range(len(lines)), lines)
    axis.invert_yaxis()
    axis.set_xscale('log')
    axis.grid(True, axis='x')
    handles = dict(zip(*reversed(axis.get_legend_handles_labels())))
    axis.legend(handles.values(), handles.keys(), loc='center left', bbox_to_anchor=(1, 0.5))


def overlap(rows):
    drivers = {'psycopg2': 'query', 'mysqlclient': 'query_mysql', 'requests.get': 'fetch_100'}
    lines = {label: {contender: spread(values) for contender, values in measured(rows, name, 'seconds').items()}
             for label, name in drivers.items() if measured(rows, name, 'seconds')}
    if not lines:
        return None
    figure, (axis,) = axes('100 calls of 0.2 s at once, in drivers that block', height=3.2)
    marks(axis, lines, [HERE, 'uWSGI --threads', 'uWSGI --gevent'])
    for seconds, text in ((0.2, 'all at once'), (20, 'in turn')):
        axis.axvline(seconds, color=GREY, linestyle=':', linewidth=1.2)
        axis.text(seconds, 1.02, text, transform=axis.get_xaxis_transform(), ha='center', fontsize=10)
    logarithmic(axis.xaxis, 0.14, 40, TICKS)
    axis.set_xlabel('seconds until all 100 are answered')
    return figure


def event_loop(rows):
    row = rows.get('event_loop', {})
    lines = {}
    for metric, label in row.get('units', {}).items():
        values = measured(rows, 'event_loop', metric)
        if metric.endswith(', CPU') or not values.get('uvloop'):
            continue
        base = statistics.median(values['uvloop'])
        lines[metric] = {contender: spread([value / base for value in of]) for contender, of in values.items()}
    if not lines:
        return None
    figure, (axis,) = axes("Event loops: operations a second as a multiple of uvloop's", height=4.6)
    marks(axis, lines, ['ours', 'uvloop', 'asyncio'])
    axis.axvline(1, color=GREY, linestyle=':', linewidth=1.2)
    logarithmic(axis.xaxis, *axis.get_xlim(), TICKS)
    axis.set_xlabel("times uvloop's median: more is better")
    return figure


PLOTS = {  # File: what it shows, and how it is drawn (None without figures).
    'cpu-hello.svg': ('CPU time of a hello on a new connection', cpu('hello', 'A 5-byte answer on a new connection')),
    'cpu-fetch.svg': ('CPU time of a request that fetches 1 KiB', cpu('fetch_at_once', 'A request that fetches 1 KiB from an upstream')),
    'lateness.svg': ('How late requests that wait a second are answered, against how many wait', lateness),
    'memory.svg': ('Memory of a waiting request, against how many wait', memory),
    'overlap.svg': ('Time of 100 calls of 0.2 s at once in blocking drivers', overlap),
    'event-loop.svg': ("Operations a second of event loops, as a multiple of uvloop's", event_loop),
}


def draw(results, folder):
    """Writes what there are figures for, and removes the others. Returns file: what it shows."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for file, (shows, make) in PLOTS.items():
        with matplotlib.rc_context(LOOK):
            figure = make(results['rows'])
            if figure is None:
                (folder / file).unlink(missing_ok=True)
                continue
            figure.savefig(folder / file, metadata={'Title': shows, 'Date': None, 'Creator': None})
            pyplot.close(figure)
        drawn[file] = shows
    return drawn
