"""examples/embedded: one program, an ini without plugins. It is there where UWSGI_EMBEDDED names it (make embed-smoke)."""
import os
import pathlib
import shutil
import signal

import pytest

from conftest import EMBEDDED, free_port
from deployed import deployed
from overlap import assert_far_below_serial

REQUESTS = 40

pytestmark = [pytest.mark.smoke, pytest.mark.skipif(not EMBEDDED, reason='UWSGI_EMBEDDED names no program')]


def plugins_of(pid):
    return [line for line in pathlib.Path(f'/proc/{pid}/maps').read_text().splitlines() if '_plugin.so' in line]


@pytest.mark.smoke
def test_one_program_serves_and_reloads_into_the_next(server, tmp_path, monkeypatch):
    port, program = free_port(), tmp_path / 'uwsgi'
    shutil.copy(EMBEDDED, program)
    monkeypatch.delenv('UWSGI_EMBEDDED')  # uWSGI takes it for an option, and strict refuses it.
    monkeypatch.setattr('conftest.EMBEDDED', str(program))
    deployed('embedded', tmp_path, {'127.0.0.1:9090': f'127.0.0.1:{port}'})
    running = server(None, '--master', '--ini', str(tmp_path / 'uwsgi.ini'))
    running.port = port
    results, seconds = running.get_all(['/sleep'] * REQUESTS)
    assert all(body.startswith(b'hello from core ') for _, _, body in results)
    assert_far_below_serial(seconds, REQUESTS, 1)
    assert all(not plugins_of(pid) for pid in running.worker_pids())
    shutil.copy(EMBEDDED, tmp_path / 'next')
    os.replace(tmp_path / 'next', program)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_log(r'\(master-start\)', count=2)
    assert running.get('/')[0] == 200
    assert os.readlink(f'/proc/{running.process.pid}/exe') == str(program)  # The one replaced would be "(deleted)".
