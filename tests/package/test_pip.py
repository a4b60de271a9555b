"""uWSGI as pip builds it, with the engine inside, in a virtual environment (tools/build-with-pip)."""
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.request

import pytest

UWSGI = os.environ.get('UWSGI_OF_PIP', '')
pytestmark = pytest.mark.skipif(not UWSGI, reason='make test-pip builds it')

APP = '''
import only_here
import sys

def application(environ, start_response):
    start_response('200 OK', [])
    return [f'{only_here.WHERE} {sys.prefix}'.encode()]
'''


@pytest.mark.parametrize('options', [[], ['--virtualenv', '{venv}'], ['--virtualenv', '{venv}', '--master', '--processes', '2']],
                         ids=['alone', 'virtualenv', 'master'])
def test_packages_of_the_environment_are_found(tmp_path, options):
    venv = pathlib.Path(UWSGI).parents[1]
    site = next(venv.glob('lib/python3*/site-packages'))
    (site / 'only_here.py').write_text('WHERE = "the environment"\n')
    (tmp_path / 'app.py').write_text(APP)
    log = tmp_path / 'log'
    with open(log, 'wb') as written:
        process = subprocess.Popen([UWSGI, '--tornado', '10', '--die-on-term', '--http-socket', '127.0.0.1:0', '--wsgi-file',
                                    str(tmp_path / 'app.py'), *(option.format(venv=venv) for option in options)],
                                   stdout=written, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 30
        while 'cores on fibers' not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)  # A poll of the condition above.
        port = re.search(r'bound to TCP address 127.0.0.1:(\d+)', log.read_text())[1]
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/', timeout=30) as response:
            assert response.read().decode() == f'the environment {venv}'
    finally:
        process.terminate()
        process.wait(60)
        (site / 'only_here.py').unlink()


def test_it_is_this_checkouts_engine():
    shown = subprocess.run([UWSGI, '--help'], capture_output=True, text=True).stdout
    assert '--tornado-quantum' in shown and sys.version_info[:2] >= (3, 8)
