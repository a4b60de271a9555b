"""typing/uwsgi_tornado.pyi and docs/api.md say what the module is."""
import ast
import inspect
import os
import pathlib
import re
import subprocess
import sys

import pytest
import uwsgi_tornado

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPING = ROOT / 'typing'
NODES = ast.parse((TYPING / 'uwsgi_tornado.pyi').read_text()).body
CLASSES = {node.name: node for node in NODES if isinstance(node, ast.ClassDef)}
PUBLIC = sorted(name for name in dir(uwsgi_tornado) if not name.startswith('_'))
MYPY_S = 600  # It hangs, or the machine has much else to do: alone it takes ten seconds.

# The programs of uWSGI's documentation, left as they are: for Tornado 5, with names from a star import.
NOT_TYPED = 'greenlet_fetch|greenlet_timer|tornado_application'


def names_of(nodes):
    """Public ones that statements of the stub define."""
    names = {node.target.id if isinstance(node, ast.AnnAssign) else getattr(node, 'name', '_') for node in nodes}
    return sorted(name for name in names if not name.startswith('_'))


def own_names_of(value):
    """What its class defines itself, not what it derives."""
    kind = value if isinstance(value, type) else type(value)
    return sorted(name for name in vars(kind) if not name.startswith('_'))


def class_in_stub(name):
    for node in NODES:
        if isinstance(node, ast.AnnAssign) and node.target.id == name:
            return CLASSES[node.annotation.id]
    return CLASSES[name]


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    """One for all runs: the standard library's stubs are read once."""
    return tmp_path_factory.mktemp('mypy')


def mypy(*arguments, cache=os.devnull):
    done = subprocess.run([sys.executable, '-m', *arguments], capture_output=True, text=True, timeout=MYPY_S, cwd=ROOT,
                          env={**os.environ, 'MYPYPATH': str(TYPING), 'MYPY_CACHE_DIR': str(cache)})
    return done.returncode, done.stdout + done.stderr


def test_public_names_are_the_same():
    assert names_of(NODES) == PUBLIC


CLASS_NAMES = [name for name in PUBLIC if isinstance(getattr(uwsgi_tornado, name), type) or name == 'stopping']


# What CPython's own documentation describes, their stubs have from asyncio's and Tornado's.
@pytest.mark.parametrize('name', sorted(set(CLASS_NAMES) - {'AsyncHTTPClient', 'EventLoop', 'EventLoopPolicy', 'Handle', 'TimerHandle'}))
def test_public_members_are_the_same(name):
    assert names_of(class_in_stub(name).body) == own_names_of(getattr(uwsgi_tornado, name))


def parameters_in_stub(function):
    """(name, is positional only) for each; without self."""
    arguments = function.args
    found = [(argument.arg, True) for argument in arguments.posonlyargs]
    found += [(argument.arg, False) for argument in arguments.args + arguments.kwonlyargs]
    return [parameter for parameter in found if parameter[0] != 'self']


def parameters_of(value):
    kinds = inspect.Parameter
    return [(parameter.name, parameter.kind is kinds.POSITIONAL_ONLY) for parameter in inspect.signature(value).parameters.values()
            if parameter.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD) and parameter.name != 'self']


@pytest.mark.parametrize('node', [node for node in NODES if isinstance(node, ast.FunctionDef)], ids=lambda node: node.name)
def test_parameters_of_a_function_are_the_same(node):
    assert parameters_in_stub(node) == parameters_of(getattr(uwsgi_tornado, node.name))


@pytest.mark.parametrize('name', ['EventLoop', 'IOLoop', 'PeriodicCallback'])
def test_parameters_of_a_class_are_the_same(name):
    init, = (node for node in CLASSES[name].body if getattr(node, 'name', '') == '__init__')
    assert parameters_in_stub(init) == parameters_of(getattr(uwsgi_tornado, name))


@pytest.mark.parametrize('name', PUBLIC)
def test_public_name_is_documented(name):
    value = getattr(uwsgi_tornado, name)
    assert inspect.getdoc(value)
    members = own_names_of(value) if name in CLASS_NAMES and name != 'AsyncHTTPClient' else []
    constants = (int, str, type(None))  # Described with their class.
    assert [member for member in members if not isinstance(getattr(value, member), constants)
            and not inspect.getdoc(getattr(value, member))] == []


def test_stubtest_finds_no_difference():
    status, said = mypy('mypy.stubtest', 'uwsgi_tornado', '--allowlist', str(ROOT / 'tests/loop/stubtest_allowed.txt'))
    assert status == 0, said


def test_examples_type_check(cache):
    status, said = mypy('mypy', '--explicit-package-bases', '--check-untyped-defs', '--ignore-missing-imports',
                        '--disable-error-code', 'import', '--disable-error-code', 'var-annotated', '--exclude', NOT_TYPED, 'examples', cache=cache)
    assert status == 0, said


MISTAKES = {
    'uwsgi_tornado.await_(7)': 'arg-type',
    'uwsgi_tornado.fetch("http://x/", timeout=5)': 'call-arg',
    'uwsgi_tornado.spawn(len)': 'call-arg',
    'uwsgi_tornado.fetch("http://x/").status + ""': 'operator',
    'uwsgi_tornado.fibers()[0]["cores"]': 'typeddict-item',
}


def test_type_checker_sees_mistakes(tmp_path, cache):
    (tmp_path / 'app.py').write_text('\n'.join(['import uwsgi_tornado', *MISTAKES]))
    status, said = mypy('mypy', str(tmp_path / 'app.py'), cache=cache)
    assert status == 1
    assert re.findall(r'app.py:(\d+): error: .*\[([\w-]+)\]', said) == [
        (str(line), error) for line, error in enumerate(MISTAKES.values(), 2)], said


def test_keys_of_the_report_are_those_of_the_stub():
    report = uwsgi_tornado.blocking_report()
    assert sorted(report) == sorted(node.target.id for node in CLASSES['_BlockingReport'].body)


def test_reference_is_up_to_date():
    done = subprocess.run([sys.executable, 'tools/write-api'], capture_output=True, text=True, cwd=ROOT, timeout=MYPY_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / 'docs' / 'api.md').read_text(), 'docs/api.md is not what the module says: make docs'
