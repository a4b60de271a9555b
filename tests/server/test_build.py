"""The ways to build the plugin, and what one that does not fit says when it is loaded."""
import glob
import json
import os
import re
import subprocess

import conftest
import pytest

SYSTEM_PYTHON = '/usr/bin/python3'
BUILD_S = 1200  # Ten times what it takes where nothing else runs.
RUN_S = 60

plugin_only = pytest.mark.skipif(
    bool(conftest.EMBEDDED or conftest.ASAN), reason='about building and loading a plugin, whatever its flags')


def ask(python, expression):
    return subprocess.check_output([python, '-c', f'import sys, sysconfig; print({expression})'], text=True).strip()


def pythons():
    """Pythons on this machine, with headers, that are not the one uWSGI embeds."""
    root = os.environ.get('PYENV_ROOT', os.path.expanduser('~/.pyenv'))
    found = glob.glob(f'{root}/versions/3.*/bin/python3') + glob.glob('/usr/local/bin/python3.[0-9]*[0-9]')
    for python in sorted(found):
        version = json.loads(ask(python, 'list(sys.version_info[:2])'))
        has_headers = os.path.exists(ask(python, 'sysconfig.get_path("include")') + '/Python.h')
        if has_headers and version != json.loads(ask(SYSTEM_PYTHON, 'list(sys.version_info[:2])')):
            yield python, tuple(version)


@pytest.fixture(scope='module')
def other_python():
    # uWSGI 2.0.21's own header compiles with these.
    usable = [python for python, version in pythons() if (3, 9) <= version <= (3, 12)]
    if not usable:
        pytest.skip('no second Python, 3.9 to 3.12, with headers')
    return usable[-1]


def run(arguments, cwd, **environ):
    environment = {name: value for name, value in os.environ.items() if name not in ('PYTHON', 'UWSGI_SRC')}
    return subprocess.run(arguments, cwd=cwd, env={**environment, **environ}, timeout=BUILD_S,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def read_manifest(python, cwd, **environ):
    """What uWSGI's builder takes from uwsgiplugin.py: it executes the file's text in a dictionary."""
    builder = ('import json\n'
               'def build_plugin(path):\n'
               '    up = {}\n'
               '    exec(open(path + "/uwsgiplugin.py").read(), up)\n'
               '    print(json.dumps(up["CFLAGS"]))\n'
               f'build_plugin({str(conftest.ROOT)!r})')
    return run([python, '-c', builder, '--extra-plugin'], cwd, **environ)


# Debian testing's uWSGI gives C++ an option that is C's alone.
WARNING_OF_UWSGI = r"cc1plus: warning: .-Werror=. argument .-Werror=implicit-function-declaration. is not valid for C\+\+"


def build(cwd, **environ):
    result = run(['uwsgi', '--build-plugin', f'{conftest.ROOT} tornado'], cwd,
                 UWSGI_TORNADO_CFLAGS='-O0 -g0', **environ)
    assert result.returncode == 0, result.stdout
    assert 'warning:' not in re.sub(WARNING_OF_UWSGI, '', result.stdout)
    return cwd / 'tornado_plugin.so'


def start_and_fail(tmp_path, *plugins):
    environ = conftest.asan_environment() if conftest.ASAN else {}
    options = [word for plugin in plugins for word in ('--plugin', str(plugin))]
    result = subprocess.run(['uwsgi', *options, '--tornado', '4', '--http-socket', f'127.0.0.1:{conftest.free_port()}'],
                            cwd=tmp_path, env={**os.environ, **environ}, timeout=RUN_S,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 1, result.stdout
    return result.stdout


def test_headers_are_those_of_uwsgis_python_whichever_is_first_on_path(other_python, tmp_path):
    path = os.path.dirname(other_python) + ':' + os.environ['PATH']
    flags = read_manifest(other_python, tmp_path, PATH=path)
    assert '-I' + ask(SYSTEM_PYTHON, 'sysconfig.get_path("include")') in json.loads(flags.stdout)
    assert '-I' + ask(other_python, 'sysconfig.get_path("include")') not in json.loads(flags.stdout)


def test_PYTHON_names_the_python_to_build_for(other_python, tmp_path):
    flags = read_manifest(SYSTEM_PYTHON, tmp_path, PYTHON=other_python)
    assert '-I' + ask(other_python, 'sysconfig.get_path("include")') in json.loads(flags.stdout)


def test_embedded_build_follows_the_interpreter_that_builds_uwsgi(other_python, tmp_path):
    header = tmp_path / 'plugins' / 'python' / 'uwsgi_python.h'
    header.parent.mkdir(parents=True)
    header.touch()
    (tmp_path / 'core').mkdir()
    (tmp_path / 'core' / 'uwsgi.c').touch()
    code = f'up = {{}}\npath = {str(conftest.ROOT)!r}\nexec(open(path + "/uwsgiplugin.py").read(), up)\nprint(up["CFLAGS"])'
    result = run([other_python, '-c', code], tmp_path, PYTHON=SYSTEM_PYTHON, UWSGI_EMBED_PLUGINS='tornado')
    assert ask(other_python, 'sysconfig.get_path("include")') in result.stdout


def python_that_says(folder, release, gil_disabled):
    """None such is on this machine: it answers as one would."""
    python = folder / 'python3'
    changes = f's/"release": "[^"]*"/"release": "{release}"/; s/"Py_GIL_DISABLED": [a-z0-9]*/"Py_GIL_DISABLED": {gil_disabled}/'
    python.write_text(f"#!/bin/sh\n{SYSTEM_PYTHON} \"$@\" | sed '{changes}'\n")
    python.chmod(0o755)
    return str(python)


@pytest.mark.parametrize('release, gil_disabled, sentence', [
    ('3.7.17', 'null', 'is Python 3.7.17: the plugin is for 3.8 to 3.14 (docs/build.md), name another with PYTHON='),
    ('3.15.0a2', '0', 'is Python 3.15.0a2: the plugin is for 3.8 to 3.14 (docs/build.md), name another with PYTHON='),
    ('3.14.1', '0', "is Python 3.14.1, which cannot be told about a fiber's stack: use 3.14.2 or later"),
    ('3.13.5', '1', 'is Python 3.13.5 without a GIL, which keeps state for each OS thread that fibers cannot share: '
                    'use the same one with its GIL, or name another with PYTHON='),
])
def test_python_that_cannot_be_used_is_a_sentence(release, gil_disabled, sentence, tmp_path):
    python = python_that_says(tmp_path, release, gil_disabled)
    result = read_manifest(SYSTEM_PYTHON, tmp_path, PYTHON=python)
    assert result.returncode == 1
    assert f'{python} {sentence}' in result.stdout


@pytest.mark.parametrize('release', ['3.8.0', '3.14.2'])
def test_python_that_can_be_used_is_taken(release, tmp_path):
    result = read_manifest(SYSTEM_PYTHON, tmp_path, PYTHON=python_that_says(tmp_path, release, '0'))
    assert result.returncode == 0, result.stdout


def test_missing_source_of_uwsgi_is_a_sentence(tmp_path):
    result = read_manifest(SYSTEM_PYTHON, tmp_path, UWSGI_SRC=str(tmp_path))
    assert result.returncode == 1
    assert result.stdout.strip().splitlines()[-1].startswith('uwsgiplugin.py: there is no plugins/python/uwsgi_python.h')
    assert 'install uwsgi-src' in result.stdout


@plugin_only
@pytest.mark.slow
def test_plugin_built_by_hand_in_another_folder_serves(server, tmp_path, monkeypatch):
    # uWSGI runs `python` to build; PYTHON is not set.
    bin_folder = tmp_path / 'bin'
    bin_folder.mkdir()
    (bin_folder / 'python').symlink_to(SYSTEM_PYTHON)
    plugin = build(tmp_path, PATH=f'{bin_folder}:{os.environ["PATH"]}')
    monkeypatch.setattr(conftest, 'PLUGIN', str(plugin))
    assert server('basic.py').get('/')[2] == b'hello'


@plugin_only
@pytest.mark.slow
def test_plugin_built_without_libcurl_serves_and_says_what_it_lacks(server, tmp_path, monkeypatch):
    plugin = build(tmp_path, UWSGI_TORNADO_CURL='no')
    assert 'libcurl' not in subprocess.check_output(['ldd', plugin], text=True)
    monkeypatch.setattr(conftest, 'PLUGIN', str(plugin))
    running = server('fetch_life.py', environ={'UPSTREAM': 'http://127.0.0.1:1'})
    assert running.get('/fetch')[0] == 500
    assert 'RuntimeError: this plugin was built without libcurl, so it cannot fetch: install libcurl4-openssl-dev' in running.log


@plugin_only
@pytest.mark.slow
def test_plugin_built_for_another_python_says_so(other_python, tmp_path):
    plugin = build(tmp_path, PYTHON=other_python)
    log = start_and_fail(tmp_path, 'python3', plugin)
    built_for = ask(other_python, '"%d.%d" % sys.version_info[:2]')
    running = ask(SYSTEM_PYTHON, '"%d.%d" % sys.version_info[:2]')
    assert (f'tornado: this plugin was built for Python {built_for} but uWSGI runs Python {running}: '
            'build it again with PYTHON= set to that Python\n') in log


@pytest.mark.skipif(bool(conftest.EMBEDDED), reason='the embedded engine needs no plugin')
@pytest.mark.parametrize('plugins', [(conftest.PLUGIN, 'python3'), (conftest.PLUGIN,)],
                         ids=['after it', 'not at all'])
def test_plugin_that_finds_no_python_plugin_says_how_to_name_it(plugins, tmp_path):
    log = start_and_fail(tmp_path, *plugins)
    assert "tornado: uWSGI's python plugin is not loaded: name it first, as in --plugin python3,tornado\n" in log


@plugin_only
def test_plugin_that_uwsgi_drops_for_one_of_the_same_name_says_so(tmp_path):
    plugins = ['--plugin', 'python3', '--plugin', 'tornado_python3', '--plugin', conftest.PLUGIN]
    result = run(['uwsgi', *plugins, '--version'], tmp_path)
    if 'UNABLE to load uWSGI plugin' in result.stdout:
        pytest.skip("uWSGI's own tornado plugin is not installed")
    assert 'tornado: uWSGI has already loaded another plugin named tornado and ignores this one' in result.stdout


@pytest.mark.smoke
@pytest.mark.skipif(not conftest.EMBEDDED, reason='needs the embedded engine')
def test_engine_inside_the_program_survives_a_plugin_of_it(server, tmp_path):
    plugin = conftest.ROOT / 'build' / 'tornado_plugin.so'
    if not plugin.exists():
        pytest.skip('the plugin is not built')
    running = server('basic.py', '--plugin', str(plugin))
    assert 'ignores this one' in running.log
    assert running.get('/')[2] == b'hello'
