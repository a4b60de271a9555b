"""Every command that README.md, docs/ and the READMEs of examples/ and bench/ print is run.

A line that starts uwsgi is started, and must answer; the lines below it that ask it are run as they stand.
"""
import ast
import builtins
import re
import subprocess
import symtable
import sys

import pytest

from conftest import EMBEDDED, ROOT
from printed import DOCUMENTS, Checkout, blocks, commands, words
from services import first_of_free_ports

pytestmark = pytest.mark.skipif(bool(EMBEDDED), reason='the lines name plugins; what is inside the program needs none')

CLIENTS = {'curl', 'seq', 'time', 'xdg-open', 'sleep', 'python3', 'tools/simulate-fleet'}

# What is not run here: the document (a pattern), a pattern of the command, why, and the test that runs it.
ELSEWHERE = [
    ('docs/build.md', r'uwsgi --build-plugin', 'compiles for half a minute', 'test_build.py::test_plugin_built_by_hand_in_another_folder_serves'),
    ('docs/build.md', r'cd /path/to/uwsgi$|UWSGI_FORCE_REBUILD=1 UWSGI_EMBED_PLUGINS=', 'compiles uWSGI', 'make test-embed'),
    ('docs/build.md', r'-m venv venv|venv/bin/', 'compiles uWSGI', 'make test-pip'),
    ('docs/observing.md', r'kill -USR2 PID', 'wants a request to show', 'test_fibers_seen.py::test_dump_in_the_log_by_a_signal'),
    ('docs/observing.md', r'echo d > FIFO', 'wants a request to show', 'test_fibers_seen.py::test_dump_in_the_log_by_the_fifo'),
    ('docs/troubleshooting.md', r'kill -USR2 PID', 'wants a request to show', 'test_fibers_seen.py::test_dump_in_the_log_by_a_signal'),
    ('bench/README.md', r'/usr/bin/python3 bench/run.py', 'measures', 'test_commands.py::test_rows_of_the_bench_are_there'),
    ('examples/cluster/README.md', r'.', 'wants a router and nodes with addresses of their own', 'test_cluster.py'),
    ('examples/container/README.md', r'.', 'builds an image', 'make test-container'),
    ('examples/dashboard/README.md', r'seq 20 .*/wait|TORNADO_DASHBOARD_TOKEN=|curl -u', 'its requests take up to 20 s', 'test_dashboard.py'),
    ('(examples/(django|fastapi)_postgresql/)?README.md', r'pg_virtualenv', "the tests' own PostgreSQL is asked", 'test_example_services.py'),
    ('examples/emperor/README.md', r'.', 'one that starts others', 'test_example_emperor.py'),
    ('examples/kubernetes/README.md', r'.', 'wants Kubernetes, and a port for all', 'test_kubernetes.py'),
    ('examples/nginx/README.md', r'.', 'wants nginx', 'test_example_nginx.py'),
    ('examples/supervisor/README.md', r'.', 'wants supervisor', 'test_example_supervisor.py'),
    ('examples/systemd/README.md', r'.', 'wants systemd', 'test_example_systemd.py'),
]


def postgres_of_libpq(get, checkout):
    service = get('postgres')
    service.query('drop database if exists printed with (force)')
    service.query('create database printed')
    return {'PGHOST': '127.0.0.1', 'PGPORT': str(service.port), 'PGUSER': 'app', 'PGPASSWORD': 'any', 'PGDATABASE': 'printed'}


def first_port(get, checkout):
    first = first_of_free_ports(2)
    checkout.ports.update({'8001': first + 1, '8002': first + 2})
    return {'FIRST_PORT': str(first)}


# What examples want beside a server, as environment; get(name) is a fixture. So do documents that name them.
NEEDS = {
    'django_postgresql': postgres_of_libpq,
    'fastapi_postgresql': postgres_of_libpq,
    'fetch': lambda get, checkout: {'SERVICES': get('pages') + '/services'},
    'greenlet_fetch': lambda get, checkout: {'SERVICES': get('pages') + '/services'},
    'greenlet_timer': lambda get, checkout: {'SERVICES': get('pages') + '/services', 'SECONDS': '0.2'},
    'long_poll': lambda get, checkout: {'SECONDS': '0.2'},
    'redis_pubsub': lambda get, checkout: {'REDIS_URL': f'redis://127.0.0.1:{get("redis_server").port}'},
    'tornado_and_wsgi': lambda get, checkout: {'TORNADO_PORT': checkout.with_own_ports(':8001')[1:]},
    'tornado_application': first_port,
    'transfers': lambda get, checkout: {'UPLOADS': str(checkout.folder)},
}


def name_of(path):
    return str(path.relative_to(ROOT))


def elsewhere(path, command):
    return next((test for document, pattern, _, test in ELSEWHERE if re.fullmatch(document, name_of(path)) and re.search(pattern, command)), None)


def check_make(command):
    """What make would do, and it knows how; doing it is CI's, or takes long."""
    done = subprocess.run(['bash', '-c', re.sub(r'(sudo )?\bmake\b', 'make -n', command, count=1)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def check_packages(names):
    """They are what CI installs as well."""
    installed = re.findall(r"[\w.+-]+", (ROOT / 'tools' / 'install-deps').read_text())
    assert [name for name in names if name not in installed] == []


def run(checkout, command):
    """The problems that a server had that had to make room for another."""
    program, *arguments = words(command)
    if program == 'make':
        check_make(command)
        if arguments == ['run']:
            return list(checkout.serve('tools/run-example'))
    elif program in ('apt', 'apt-get') and arguments[0] == 'install':
        check_packages(arguments[1:])
    elif program in ('uwsgi', 'build/embed/uwsgi'):
        return list(checkout.serve(command))
    elif program in CLIENTS:
        checkout.run(command)
    else:
        pytest.fail(f'nobody runs {command!r}: run it here, or name in ELSEWHERE the test that does')
    return []


@pytest.mark.parametrize('path', [path for path in DOCUMENTS if commands(path)], ids=name_of)
def test_commands_do_what_they_say(path, tmp_path, request):
    checkout = Checkout(tmp_path, {})
    printed = ' '.join(command for _, command in commands(path))
    for name in [name for name in NEEDS if f'examples/{name}/' in printed]:
        checkout.environ.update(NEEDS[name](request.getfixturevalue, checkout))
    problems = []
    try:
        for _, command in commands(path):
            if not elsewhere(path, command):
                problems += run(checkout, command)
        checkout.hear_streams()
    finally:
        problems += checkout.end()
    assert not problems, '\n'.join(problems)


@pytest.mark.parametrize('document, pattern, _, test', ELSEWHERE, ids=[f'{entry[0]}-{number}' for number, entry in enumerate(ELSEWHERE)])
def test_what_runs_elsewhere_is_printed_and_run(document, pattern, _, test):
    paths = [path for path in DOCUMENTS if re.fullmatch(document, name_of(path))]
    assert any(re.search(pattern, command) for path in paths for _, command in commands(path)), 'nobody prints it any more'
    file, _, function = test.partition('::')
    if test.startswith('make '):
        assert re.search(rf'^{test.removeprefix("make ")}:', (ROOT / 'Makefile').read_text(), re.M)
    else:
        assert f'def {function or "test_"}' in (ROOT / 'tests' / 'server' / file).read_text()


def test_make_targets_that_are_named_are_there():
    targets = set(re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.M))
    named = {target for path in DOCUMENTS for target in re.findall(r'`make ([a-z][\w-]*)', path.read_text())}
    assert named - targets == set()


def test_rows_of_the_bench_are_there():
    """Those that bench/README.md names."""
    text = (ROOT / 'bench' / 'README.md').read_text()
    told = subprocess.run([sys.executable, ROOT / 'bench' / 'run.py', 'no-such-row'], capture_output=True, text=True)
    there = set(re.findall(r'\w+', (told.stdout + told.stderr).partition('there are')[2]))
    printed_rows = re.search(r'run.py --quick ([a-z_ ]+?)\s+#', text)[1].split()
    rows = re.search(r'^\| row \|.*?\n\n', text, re.M | re.S)[0]
    tabled = {row for cell in re.findall(r'^\| (`.*?) \|', rows, re.M) for row in re.findall(r'`(\w+)`', cell)}
    named = {row for row in {*printed_rows, *tabled} if not row.startswith('_')}  # The rest of a name before it.
    assert len(named) > 10 and named - there == set()


# --- Python ----------------------------------------------------------------------------------

def snippets():
    found = [pytest.param(block.text, id=f'{name_of(path)}:{block.number}') for path in DOCUMENTS
             if path.name != 'api.md'  # Signatures, of which tests/loop/test_stub.py takes care.
             for block in blocks(path) if block.language == 'python']
    assert len(found) > 5
    return found


def is_whole(text):
    """A WSGI application with every name it uses, and nothing left out."""
    table = symtable.symtable(text, 'snippet', 'exec')
    known = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()} | set(dir(builtins))

    def unknown(scope):
        for symbol in scope.get_symbols():
            if symbol.is_global() and symbol.is_referenced() and symbol.get_name() not in known:
                yield symbol.get_name()
        for child in scope.get_children():
            yield from unknown(child)
    left_out = any(isinstance(node, ast.Constant) and node.value is Ellipsis for node in ast.walk(ast.parse(text)))
    return 'application' in known and not left_out and not set(unknown(table))


@pytest.mark.parametrize('text', snippets())
def test_python_compiles_and_names_what_the_module_has(text):
    ast.parse(text)
    stub = (ROOT / 'typing' / 'uwsgi_tornado.pyi').read_text()
    named = set(re.findall(r'\buwsgi_tornado\.(\w+)', text))
    named |= {name.strip() for names in re.findall(r'from uwsgi_tornado import (.*)', text) for name in names.split(',')}
    assert [name for name in named if not re.search(rf'\b{name}\b', stub)] == []


@pytest.mark.parametrize('text', [snippet for snippet in snippets() if is_whole(snippet.values[0])])
def test_whole_programs_answer(text, tmp_path, server):
    app = tmp_path / 'app.py'
    app.write_text(text)
    options = ['--greenlet'] if 'import greenlet' in text else []
    running = server(None, '--wsgi-file', str(app), *options, cores=4)
    status, _, body = running.get('/')
    assert status == 200 and body, running.log
