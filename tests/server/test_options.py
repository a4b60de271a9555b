"""--tornado N is all a user needs; what it cannot serve it refuses at once, in one sentence."""
import os
import re
import subprocess
import time
import urllib.request

import pytest

import conftest
from conftest import APPS, EMBEDDED, PLUGIN, command, free_port

HELLO = str(APPS / 'basic.py')


def environment():
    return {**os.environ, **(conftest.asan_environment() if conftest.ASAN else {})}


def run_refused(arguments, tmp_path):
    """Runs a uwsgi that must end by itself: (exit code, what the engine said, the log)."""
    ended = subprocess.run(
        [*arguments, '--http-socket', f'127.0.0.1:{free_port()}'], cwd=tmp_path, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=90)
    return ended.returncode, re.findall('^tornado: .*', ended.stdout, re.MULTILINE), ended.stdout


def assert_refused(arguments, why, tmp_path):
    code, said, log = run_refused(arguments, tmp_path)
    assert code > 0, log  # An exit, not a signal.
    assert len(said) == 1 and re.search(why, said[0]), log
    assert 'Traceback' not in log and 'respawn' not in log.lower(), log


@pytest.mark.smoke
def test_tornado_is_all_a_user_needs(server):
    running = server('options.py', cores=5)
    assert running.get()[2] == b'multithread=True thread_ran=True'
    assert 'Python main interpreter initialized' in running.log
    assert 'threads support enabled' in running.log
    assert 'socket-timeout' not in running.log  # It is not short, so nothing is said of it.


def test_two_mounted_apps_share_the_interpreter(server):
    running = server(None, '--mount', f'/a={HELLO}', '--mount', f'/b={HELLO}', '--manage-script-name')
    assert running.get('/a/')[2] == running.get('/b/')[2] == b'hello'
    interpreters = re.findall(r'interpreter (0x[0-9a-f]+) pid', running.log)
    assert len(interpreters) == 2 and len(set(interpreters)) == 1


def test_short_socket_timeout_is_said(server):
    running = server('basic.py', '--socket-timeout', '2')
    running.wait_for_log('tornado: a socket-timeout of 2 s is short')


def test_longer_socket_timeout_is_kept(server):
    running = server('basic.py', '--socket-timeout', '99')
    assert running.get()[0] == 200
    assert 'is short' not in running.log


@pytest.mark.parametrize('number', ['many', '0', '1', '-5', '1e9', '', '5x', '99999999999999999999'])
def test_wrong_number_of_cores_is_refused(number, tmp_path):
    assert_refused(command('--tornado', number, '--wsgi-file', HELLO),
                   f'--tornado takes a whole number .* not "{re.escape(number)}"', tmp_path)


@pytest.mark.parametrize('kib', ['100', 'big', '-1'])
def test_wrong_stack_size_is_refused(kib, tmp_path):
    assert_refused(command('--tornado', '10', '--tornado-stack-size', kib, '--wsgi-file', HELLO),
                   '--tornado-stack-size takes a whole number', tmp_path)


@pytest.mark.parametrize('option, value', [
    ('tornado-overload-status', '500'), ('tornado-overload-status', 'busy'), ('tornado-overload-wait', '-1'),
    ('tornado-overload-wait', 'inf'), ('tornado-block-warn', '-1'), ('tornado-block-warn', '100ms'),
    ('tornado-request-timeout', '-1'), ('tornado-request-timeout', 'soon'), ('tornado-request-timeout', '1e9'),
    ('tornado-request-timeout', '')])
def test_wrong_values_are_refused(option, value, tmp_path):
    assert_refused(command('--tornado', '10', f'--{option}', value, '--wsgi-file', HELLO),
                   f'--{option} takes .*, not "{value}"', tmp_path)


def test_overload_wait_without_a_status_is_refused(tmp_path):
    """It would do nothing."""
    assert_refused(command('--tornado', '10', '--tornado-overload-wait', '2', '--wsgi-file', HELLO),
                   '--tornado-overload-wait needs --tornado-overload-status', tmp_path)


def test_threads_are_refused(tmp_path):
    assert_refused(command('--tornado', '10', '--threads', '4', '--wsgi-file', HELLO), '--threads', tmp_path)


def test_one_thread_is_what_it_has_anyway(server):
    assert server('options.py', '--threads', '1').get()[2] == b'multithread=True thread_ran=True'


ENGINES = [('gevent', 'gevent_python3', '10'), ('asyncio', 'asyncio_python3', '10'), ('ugreen', 'ugreen', None)]


@pytest.mark.parametrize('option, plugin, value', ENGINES)
def test_other_engine_is_refused(option, plugin, value, tmp_path):
    if EMBEDDED and option == 'asyncio':
        pytest.skip('that engine is not inside the embedded binary')
    arguments = ['--' + option] + ([value] if value else [])
    if not EMBEDDED:
        arguments = ['--plugin', plugin] + arguments
    assert_refused(command('--tornado', '10', *arguments, '--wsgi-file', HELLO), f'--{option}', tmp_path)
    assert_refused(command(*arguments, '--tornado', '10', '--wsgi-file', HELLO), f'--{option}', tmp_path)


@pytest.mark.skipif(bool(EMBEDDED), reason='that plugin is not inside the embedded binary')
@pytest.mark.parametrize('first', [[], ['--plugin', 'greenlet_python3']])
def test_greenlet_plugin_beside_the_option_is_refused(first, tmp_path):
    uwsgi, python, name, *engine = command('--plugin', 'greenlet_python3', '--tornado', '10', '--greenlet')
    arguments = [uwsgi, python, name, *first, *engine, '--wsgi-file', HELLO]
    assert_refused(arguments, "do not load uWSGI's plugin greenlet", tmp_path)


@pytest.mark.parametrize('line, why', [
    ('fiber = true', '--fiber'),  # Its plugin is Ruby's; an ini names it without.
    ('threads = 4', '--threads'),
    ('loop = simple', '--loop'),
])
def test_clash_in_a_configuration_file_is_refused(line, why, tmp_path):
    ini = tmp_path / 'clash.ini'
    ini.write_text(f'[uwsgi]\ntornado = 10\n{line}\nwsgi-file = {HELLO}\n')
    assert_refused(command('--ini', str(ini)), why, tmp_path)


def test_other_loop_is_refused(tmp_path):
    assert_refused(command('--tornado', '10', '--loop', 'simple', '--wsgi-file', HELLO), '--loop', tmp_path)


def test_loop_by_its_own_name_is_no_clash(server):
    assert server('basic.py', '--loop', 'tornado').get()[0] == 200


@pytest.mark.parametrize('options', [
    [], ['--master'], ['--lazy-apps'], ['--lazy-apps', '--master'],
    ['--lazy-apps', '--master', '--processes', '2']], ids=' '.join)
def test_app_patched_by_gevent_is_refused(options, tmp_path):
    assert_refused(command('--tornado', '10', *options, '--wsgi-file', str(APPS / 'patched.py')),
                   'gevent.monkey.patch_all', tmp_path)


@pytest.mark.parametrize('options, patched', [([], ''), (['--lazy-apps', '--master'], 'thread'), ([], 'socket')],
                         ids=['all', 'thread-lazy', 'socket'])
def test_app_patched_by_eventlet_is_refused(options, patched, tmp_path, monkeypatch):
    monkeypatch.setenv('PATCHED_BY', 'eventlet')
    monkeypatch.setenv('PATCHED', patched)
    monkeypatch.setenv('EVENTLET_NO_GREENDNS', 'yes')  # Debian 13's eventlet cannot import its own DNS client where trio is installed.
    assert_refused(command('--tornado', '10', *options, '--wsgi-file', str(APPS / 'patched.py')),
                   'eventlet.monkey_patch', tmp_path)


def test_refusal_does_not_wait_for_a_worker_that_still_imports(tmp_path, monkeypatch):
    monkeypatch.setenv('SLOW_WORKER', '2')
    arguments = command('--tornado', '10', '--lazy-apps', '--master', '--processes', '2', '--wsgi-file', str(APPS / 'patched.py'))
    started = time.monotonic()
    assert_refused(arguments, 'gevent.monkey.patch_all', tmp_path)
    assert time.monotonic() - started < 50  # Its import takes 60, and worker-reload-mercy is as long.


@pytest.mark.skipif(bool(EMBEDDED), reason='Python is always inside the embedded binary')
@pytest.mark.parametrize('plugins', [[PLUGIN], [PLUGIN, 'python3']], ids=['missing', 'after'])
def test_python_plugin_must_come_first(plugins, tmp_path):
    options = [word for plugin in plugins for word in ('--plugin', plugin)]
    assert_refused(['uwsgi', *options, '--tornado', '10'], 'python plugin is not loaded: name it first', tmp_path)


def test_plugin_without_its_option_changes_nothing(tmp_path):
    """Loaded but not asked for: the worker is uWSGI's own."""
    port = free_port()
    arguments = command('--http-socket', f'127.0.0.1:{port}', '--wsgi-file', HELLO)
    log_path = tmp_path / 'log'
    with open(log_path, 'w') as log:
        process = subprocess.Popen(arguments, cwd=tmp_path, stdout=log, stderr=log, env=environment())
    try:
        while 'spawned uWSGI' not in log_path.read_text():
            assert process.poll() is None
            time.sleep(0.01)
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/', timeout=90) as response:
            assert response.read() == b'hello'
    finally:
        process.kill()
        process.wait(60)
    assert 'tornado:' not in log_path.read_text()
