"""uWSGI opens plugins so that their names, and those of what they are linked with, are everybody's: libraries in the
worker must find their own all the same."""
import os
import subprocess

import pytest

from conftest import ASAN, APPS, EMBEDDED, PLUGIN, asan_environment
from overlap import ask_at_once

plugin_only = pytest.mark.skipif(EMBEDDED is not None, reason='there is no plugin to look at')


@pytest.fixture(scope='module')
def user_of_libevent(tmp_path_factory):
    library = tmp_path_factory.mktemp('libevent') / 'timers.so'
    subprocess.run(['cc', '-shared', '-fPIC', '-o', library, APPS / 'libevent_timers.c', '-levent'], check=True)
    return {'LIBRARY': str(library)}


@pytest.mark.smoke
def test_library_that_uses_libevent_has_libevents_functions(server, user_of_libevent):
    running = server('with_libevent.py', environ=user_of_libevent)
    assert running.get('/timers?50')[2] == b'50'
    assert running.get('/once')[2] == b'1'
    assert ask_at_once(running, '/timers', 10)[0] == [str(n) for n in range(10)]


def needed_by(path):
    lines = subprocess.check_output(['objdump', '-p', path], text=True).splitlines()
    return [line.split()[1] for line in lines if line.strip().startswith('NEEDED')]


def test_what_is_opened_apart_is_not_linked_with():
    needed = needed_by(EMBEDDED or PLUGIN)
    assert [name for name in needed if name.startswith(('libev.', 'libevent', 'libcurl'))] == []


@plugin_only
def test_plugin_has_one_name_for_all():
    names = subprocess.check_output(['nm', '-D', '--defined-only', PLUGIN], text=True).split()[2::3]
    assert names == ['tornado_plugin']


@plugin_only
@pytest.mark.slow
def test_missing_libev_is_a_sentence(tmp_path):
    # The loader's own path is the one way to hide a library that is installed.
    (tmp_path / 'libev.so.4').write_bytes(b'')
    asan = asan_environment() if ASAN else {}
    done = subprocess.run(['uwsgi', '--plugins', f'python3,{PLUGIN}', '--tornado', '2', '--http-socket', '127.0.0.1:0', '--wsgi-file',
                           APPS / 'basic.py'], env={**os.environ, **asan, 'LD_LIBRARY_PATH': str(tmp_path)}, text=True, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 1
    assert 'tornado: libev cannot be used: ' in done.stdout and 'libev.so.4' in done.stdout
