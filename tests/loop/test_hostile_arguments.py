"""Random arguments to everything the module gives; TORNADO_SEED and HOSTILE_CALLS make others and more of them."""
import os
import pathlib
import subprocess
import sys

import pytest

PROGRAM = pathlib.Path(__file__).with_name('hostile_arguments.py')
SEEDS = [os.environ['TORNADO_SEED']] if 'TORNADO_SEED' in os.environ else ['1', '2']
CALLS = os.environ.get('HOSTILE_CALLS', '6000')


@pytest.mark.parametrize('seed', SEEDS)
def test_arguments_of_every_kind_are_refused_or_served(tmp_path, seed):
    trace = tmp_path / 'trace'
    done = subprocess.run([sys.executable, '-X', 'faulthandler', PROGRAM, seed, CALLS], text=True, capture_output=True,
                          env={**os.environ, 'HOSTILE_TRACE': str(trace)})
    assert done.returncode == 0 and done.stdout.splitlines()[-1].startswith(CALLS), \
        (trace.read_text(), done.stdout[-500:], done.stderr[-5000:])
