"""Python's own tools on a worker: warnings as errors, and code that another process sends (PEP 768)."""
import concurrent.futures
import subprocess

import pytest

from conftest import OTHER_PYTHON, python_version
from overlap import wait_until


def test_start_warns_of_nothing(server):
    running = server('gil.py', '--greenlet', '--tornado-block-warn', '1000', environ={'PYTHONWARNINGS': 'error'})
    assert running.get('/nap')[0] == 200
    assert running.get('/warn')[2] == b'an error'
    assert 'Warning' not in running.log


def test_profiler_comes_and_goes_while_others_run(server):
    """From 3.12 on that changes the code of functions, of which every thread must hear."""
    running = server('gil.py')
    with concurrent.futures.ThreadPoolExecutor() as pool:
        other = pool.submit(running.get, '/call_in_each_turn')
        for _ in range(20):
            assert running.get('/profile')[2] == b'1'
        assert running.get('/wake')[0] == 200
        assert other.result()[2] == b'called'


@pytest.mark.skipif(python_version() < (3, 14), reason='sys.remote_exec() came with 3.14')
@pytest.mark.parametrize('path', ['/pid', '/nap'])
def test_worker_runs_what_it_is_sent(server, tmp_path, path):
    running = server('gil.py')
    ran, sent = tmp_path / 'ran', tmp_path / 'sent.py'
    sent.write_text(f'import os, threading\nwith open({str(ran)!r} + "+", "w") as file:\n'
                    f'    file.write(f"{{os.getpid()}} {{threading.current_thread() is threading.main_thread()}}")\n'
                    f'os.rename({str(ran)!r} + "+", {str(ran)!r})\n')
    pid = running.process.pid
    subprocess.run([OTHER_PYTHON or '/usr/bin/python3', '-c', f'import sys; sys.remote_exec({pid}, {str(sent)!r})'], check=True)
    assert running.get(path)[0] == 200
    wait_until(ran.exists)
    assert ran.read_text() == f'{pid} True'
    assert running.get(path)[0] == 200
