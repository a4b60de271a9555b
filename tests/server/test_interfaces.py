"""Which interface an application is served by: found out, said in the log, or forced."""
import subprocess

import pytest

from conftest import APPS, command, free_port
from deployed import sanitized

WSGI = ['application', 'Wsgi', 'wsgi_partial']
TORNADO = ['application', 'server', 'router', 'rule_router', 'of_a_function']
REFUSED = {
    'Asgi': 'the class Asgi is a class: name an instance of it, Asgi\\(...\\)',
    'Asgi2': 'the class Asgi2 takes \\(receive, send\\) after its scope, as ASGI 2 applications do',
    'asgi_2_function': 'the function asgi_2_function\\(\\) takes one argument, as ASGI 2 applications do',
    'of_four': 'the function of_four\\(\\) is a coroutine function, but does not take',
    'of_four_plain': 'the function of_four_plain\\(\\) takes other arguments: a WSGI application takes',
}


@pytest.mark.parametrize('name', WSGI)
def test_wsgi_applications(server, name):
    running = server('interfaces.py', '--callable', name)
    assert running.get()[2] == b'WSGI'
    assert "tornado: mount point '' is served as WSGI\n" in running.log


@pytest.mark.parametrize('name', TORNADO)
def test_tornado_applications(server, name):
    running = server(None, '--pythonpath', str(APPS), '--module', f'tornado_interfaces:{name}')
    assert running.get()[2] == b'Tornado'
    assert "tornado: mount point '' is served as Tornado\n" in running.log


def test_class_of_a_tornado_application_is_refused_with_a_sentence(server):
    running = server('tornado_interfaces.py', '--callable', 'Router')
    running.wait_for_log("the application of mount point '' is not served: the class Router is a class: name an instance of it")
    assert running.get()[0] == 500


@pytest.mark.smoke
@pytest.mark.parametrize('name', REFUSED)
def test_what_is_no_application_is_refused_with_a_sentence(server, name):
    running = server('interfaces.py', '--callable', name)
    running.wait_for_log(f"the application of mount point '' is not served: {REFUSED[name]}")
    assert running.get()[0] == 500


@pytest.mark.parametrize('lazy', [[], ['--lazy-apps']])
@pytest.mark.parametrize('load', ['--module', '--mount'])
def test_need_app_holds_for_refused_ones(load, lazy):
    what = 'interfaces:Asgi2' if load == '--module' else '/x=interfaces:Asgi2'
    ended = subprocess.run(
        [*sanitized(), *command('--tornado', '4', '--need-app', '--master', '--http-socket', f'127.0.0.1:{free_port()}',
                                '--pythonpath', str(APPS), load, what, *lazy)], capture_output=True, timeout=60)
    log = (ended.stdout + ended.stderr).decode()
    assert 'as ASGI 2 applications do' in log
    assert ended.returncode == 22, log


def test_refused_ones_leave_the_others(server):
    running = server(None, '--pythonpath', str(APPS), '--module', 'interfaces:Asgi2', '--mount', '/two=interfaces:Asgi2',
                     '--mount', '/one=interfaces:application', '--manage-script-name')
    assert running.get('/one')[2] == b'WSGI'
    assert running.log.count('is not served: ') == 2


def test_forced_interfaces(server):
    running = server('interfaces.py', '--callable', 'asgi_2_function', '--tornado-interface', 'asgi', '--tornado-interface', '=wsgi')
    assert "tornado: mount point '' is served as WSGI\n" in running.log


def test_unknown_interface_is_refused():
    ended = subprocess.run([*sanitized(), *command('--tornado', '4', '--tornado-interface', '/x=asgi2')], capture_output=True, timeout=60)
    assert ended.returncode == 1
    assert b'--tornado-interface takes auto, wsgi, asgi or tornado, or MOUNT=one of them, not "/x=asgi2"' in ended.stdout + ended.stderr
