"""What `make bench` writes, from figures that were invented and from one quick row."""
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLE = pathlib.Path(__file__).parent / 'sample' / 'results.json'
MOST_BYTES = 60_000

sys.path.insert(0, str(ROOT / 'bench'))

import measure  # noqa: E402
import plots    # noqa: E402
import progress  # noqa: E402
import results  # noqa: E402
import run      # noqa: E402


def bench(*arguments):
    return subprocess.run([sys.executable, ROOT / 'bench' / 'run.py', *arguments], text=True, capture_output=True, timeout=120)


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """The folder that --draw left, of the sample."""
    folder = tmp_path_factory.mktemp('drawn')
    shutil.copy(SAMPLE, folder)
    told = bench('--draw', '--out', folder)
    assert told.returncode == 0 and 'run.py' not in told.stderr, told.stderr  # matplotlib may say that it looks for fonts.
    return folder


# --- Drawing ---------------------------------------------------------------------------------

def test_every_plot_is_drawn_small_and_shown_by_the_page(drawn):
    page = (drawn / 'RESULTS.md').read_text()
    assert re.findall(r'\]\((plots/.*?)\)', page) == [f'plots/{file}' for file in plots.PLOTS]
    assert {path.name for path in (drawn / 'plots').iterdir()} == set(plots.PLOTS)
    for file in plots.PLOTS:
        drawing = (drawn / 'plots' / file).read_text()
        assert len(drawing) < MOST_BYTES
        text = ' '.join(xml.etree.ElementTree.fromstring(drawing).itertext())
        assert 'uwsgi-tornado' in text or 'ours' in text, file


def test_plots_are_the_same_bytes_each_time(drawn, tmp_path):
    # The first were drawn by another process.
    plots.draw(results.load(drawn), tmp_path)
    for file in plots.PLOTS:
        assert (tmp_path / file).read_bytes() == (drawn / 'plots' / file).read_bytes()


def test_page_has_medians_spread_verdicts_and_what_is_missing(drawn):
    page = (drawn / 'RESULTS.md').read_text()
    for line in ('- 2000-01-01, commit none',
                 '| uwsgi-tornado | 20 (15-25) | 0 |',
                 '- CPU, x uWSGI sync (at most 1.10): 1.25, MISSED',
                 '- CPU, x gunicorn (at most 0.5): 0.167, met',
                 "- CPU, x uWSGI's own Tornado engine (at most 0.46): not measured",
                 '- not measured: uvicorn is not installed',
                 '| echo: CPU µs each | 16 (12-20) | 12 (9-15) | 12 (9-15) |',
                 '- not measured: ZeroDivisionError: division by zero'):
        assert line in page.splitlines()


def test_plot_without_figures_is_left_out_and_removed(tmp_path):
    found = json.loads(SAMPLE.read_text())
    found['rows'] = {name: row for name, row in found['rows'].items() if name.startswith('suspended_')}
    (tmp_path / 'plots').mkdir()
    (tmp_path / 'plots' / 'overlap.svg').touch()
    run.draw(found, tmp_path)
    assert [path.name for path in (tmp_path / 'plots').iterdir()] == ['memory.svg']
    assert re.findall(r'\]\((plots/.*?)\)', (tmp_path / 'RESULTS.md').read_text()) == ['plots/memory.svg']


# --- Running ---------------------------------------------------------------------------------

def test_quick_row_writes_every_file(tmp_path):
    told = bench('--quick', 'suspended_100', '--out', tmp_path)
    assert told.returncode == 0, told.stderr
    assert re.match(r'\[1/1\] suspended_100 done in \d+ s; \d+:\d\d so far, about 0:00 left\n', told.stderr), told.stderr
    found = json.loads((tmp_path / 'results.json').read_text())
    row = found['rows']['suspended_100']
    assert found['quick'] and found['date'] and found['commit'] and found['machine']['cpus']
    assert row['size'] == 100 and row['rounds'] == 1 and row['values']['uwsgi-tornado']['failed'] == [0]
    assert row['title'] in (tmp_path / 'RESULTS.md').read_text() and row['title'] in told.stdout
    assert [path.name for path in (tmp_path / 'plots').iterdir()] == ['memory.svg']


def test_name_before_the_number_is_all_of_them():
    known = ['fetch', 'fetch_100', 'fetch_at_once', 'latency_1', 'latency_10']
    assert run.chosen(['latency', 'fetch'], known) == ['latency_1', 'latency_10', 'fetch']
    with pytest.raises(SystemExit, match='no row nothing'):
        run.chosen(['nothing'], known)


def row_of(figure):
    def make(quick):
        row = measure.Row('a row', 'how', {'ns': 'ns'})
        return measure.in_turn(row, ['uwsgi-tornado'], 2, lambda name: name, lambda name: {'ns': figure()})
    return make


def test_row_that_fails_is_reported_and_the_others_are_measured(tmp_path, capsys):
    rows = {'broken': row_of(lambda: 1 / 0), 'good': row_of(lambda: 5)}
    found = run.measure_all(list(rows), rows, True, tmp_path)
    assert found['rows']['broken']['failed'] == 'ZeroDivisionError: division by zero'
    assert found['rows']['good']['values'] == {'uwsgi-tornado': {'ns': [5, 5]}}
    assert results.load(tmp_path) == found
    assert '[1/2] broken FAILED in 0 s' in capsys.readouterr().err


def test_contender_that_fails_is_noted_and_the_others_go_on():
    row = measure.Row('a row', 'how', {'ns': 'ns'})

    def figures(name):
        if name == 'bad':
            raise ConnectionResetError('it left')
        return {'ns': 5}
    measure.in_turn(row, ['bad', 'good'], 3, lambda name: name, figures)
    assert row.values == {'good': {'ns': [5, 5, 5]}}
    assert row.notes == ['bad: ConnectionResetError: it left']


# --- Progress --------------------------------------------------------------------------------

class Terminal(io.StringIO):
    def isatty(self):
        return True


def run_of_two(out):
    """Of 10 s and then 30 s, where they took 20 and 40 before; what was shown at each step."""
    now = [0]
    shown = progress.Progress(['one', 'two'], {'one': 20, 'two': 40}, out, lambda: now[0])
    shown.begin('one')
    shown.step('uvicorn', 1, 3, 0)
    now[0] = 10
    shown.figures('uvicorn', '5 ns')
    shown.end()
    shown.begin('two')
    shown.step('uvicorn', 2, 4, 0.25)
    return out.getvalue()


def test_terminal_shows_row_contender_round_and_what_remains(monkeypatch):
    monkeypatch.setenv('COLUMNS', '200')
    shown = run_of_two(Terminal())
    assert '[1/2] one: uvicorn, round 1 of 3; 0:00 so far, about 1:00 left' in shown
    assert '  uvicorn: 5 ns\n' in shown
    # At half of the earlier times: a quarter of 20 s is done.
    assert shown.endswith('[2/2] two: uvicorn, round 2 of 4; 0:10 so far, about 0:15 left')


def test_estimate_begins_with_the_first_row():
    now = [0]
    shown = progress.Progress(['one', 'two'], {}, io.StringIO(), lambda: now[0])
    shown.begin('one')
    assert shown.remaining_s() is None
    now[0] = 10
    assert shown.remaining_s(share=0.25) == 30 + 40


def test_log_has_a_line_for_each_row():
    assert run_of_two(io.StringIO()) == '[1/2] one done in 10 s; 0:10 so far, about 0:20 left\n'
