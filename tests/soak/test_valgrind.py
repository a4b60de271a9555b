"""A short chaos under valgrind: nothing of ours reads or writes what it must not. Run by `make soak`.

SOAK_VALGRIND_S (30). Without PostgreSQL: the worker is some thirty times slower.
"""
import os
import re
import shutil
import sys
import time

import pytest

import conftest
from conftest import ROOT

sys.path.insert(0, str(ROOT / 'tests' / 'faults'))
from chaos_load import Load  # noqa: E402
from seeds import reproduced_by  # noqa: E402

SECONDS = float(os.environ.get('SOAK_VALGRIND_S', 30))
CLIENTS = 8
SUPPRESSIONS = '/usr/lib/valgrind/python3.supp'


@pytest.mark.skipif(shutil.which('valgrind') is None, reason='there is no valgrind')
def test_chaos_under_valgrind(server, upstream, tmp_path, monkeypatch):
    if conftest.ASAN:
        pytest.skip('a sanitizer and valgrind do not go together')
    monkeypatch.setattr(conftest, 'START_S', 300)
    monkeypatch.setattr(conftest, 'STOP_S', 300)
    report = tmp_path / 'valgrind'
    launcher = ['valgrind', '--tool=memcheck', f'--log-file={report}', f'--suppressions={SUPPRESSIONS}', '--max-stackframe=1000000',
                '--num-callers=30', '--child-silent-after-fork=yes', '--trace-children=no']
    running = server('chaos.py', '--tornado-client-disconnect', '--disable-logging', '--socket-timeout', '120', cores=20,
                     environ={'UPSTREAM_PORT': str(upstream.port), 'PYTHONMALLOC': 'malloc'}, launcher=launcher)
    load = Load([running.port], CLIENTS).start()
    time.sleep(SECONDS)
    load.stop()
    print(f'\n{reproduced_by()} {dict(load.outcomes)}', flush=True)
    running.drain()
    assert not load.wrong, (reproduced_by(), load.wrong[:3])
    errors = re.split(r'==\d+== \n', report.read_text())
    # CPython's own code uses what it did not set, and gets it right.
    bad = [error for error in errors if re.search(r'Invalid (read|write|free)|overlap|uninitialised.*\n==\d+==    at .*\.cc:', error)]
    assert not bad, '\n'.join(bad[:5])
