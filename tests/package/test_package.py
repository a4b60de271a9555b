"""The Debian package and the tarball: PACKAGE and TARBALL name them."""
import os
import pathlib
import subprocess
import sys
import tarfile

import conftest
import pytest

PACKAGE = os.environ['PACKAGE']
TARBALL = os.environ['TARBALL']
NAME = 'uwsgi-plugin-tornado-fibers'
DOCS = f'usr/share/doc/{NAME}'

VERSION_APP = '''
import uwsgi_tornado

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [uwsgi_tornado.__version__.encode()]
'''


def field(name):
    return subprocess.check_output(['dpkg-deb', '-f', PACKAGE, name], text=True).strip()


def changelog_version():
    lines = (conftest.ROOT / 'CHANGELOG.md').read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith('## '))


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    """What the package would put into /."""
    folder = tmp_path_factory.mktemp('root')
    subprocess.run(['dpkg-deb', '-x', PACKAGE, folder], check=True)
    return folder


@pytest.fixture
def installed(server, tree, monkeypatch):
    """server(), with the plugin of the package under its short name."""
    folder = str(tree / 'usr/lib/uwsgi/plugins')
    monkeypatch.setattr(conftest, 'command',
                        lambda *options: ['uwsgi', '--plugins-dir', folder, '--plugin', 'python3,tornado', *options])
    return server


def test_requests_are_served_by_the_short_name(installed):
    results, seconds = installed('basic.py').get_all(['/sleep?0.3'] * 20)
    assert [status for status, _, _ in results] == [200] * 20
    assert seconds < 20 * 0.3 / 3


def test_an_example_of_the_package_is_served(installed, tree):
    running = installed(None, '--ini', str(tree / DOCS / 'examples/generator/uwsgi.ini'))
    assert running.get('/')[2] == b'onetwothree'


def test_versions_are_those_of_the_changelog(installed, tmp_path):
    (tmp_path / 'version.py').write_text(VERSION_APP)
    running = installed(None, '--wsgi-file', str(tmp_path / 'version.py'))
    assert running.get('/')[2].decode() == field('Version') == changelog_version()
    assert f'uwsgi-tornado-{changelog_version()}.tar.gz' in TARBALL


def test_package_has_plugin_stub_documentation_and_examples(tree):
    files = {path.relative_to(tree).as_posix() for path in tree.rglob('*') if path.is_file()}
    assert {'usr/lib/uwsgi/plugins/tornado_plugin.so', 'usr/lib/python3/dist-packages/uwsgi_tornado-stubs/__init__.pyi',
            f'{DOCS}/README.md', f'{DOCS}/copyright', f'{DOCS}/docs/api.md', f'{DOCS}/examples/hello/app.py'} <= files
    assert not [name for name in files if '__pycache__' in name]


def test_no_file_is_one_of_another_package(tree):
    files = ['/' + path.relative_to(tree).as_posix() for path in tree.rglob('*') if path.is_file()]
    owners = subprocess.run(['dpkg', '-S', *files], capture_output=True, text=True).stdout
    assert [line for line in owners.splitlines() if not line.startswith(NAME)] == []


def test_type_checker_finds_the_stub_of_the_package(tree, tmp_path):
    (tmp_path / 'app.py').write_text('import uwsgi_tornado\nuwsgi_tornado.await_(7)\n')
    done = subprocess.run([sys.executable, '-m', 'mypy', '--cache-dir', os.devnull, 'app.py'], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
                          env={**os.environ, 'PYTHONPATH': str(tree / 'usr/lib/python3/dist-packages')}, timeout=120)
    assert 'app.py:2: error: ' in done.stdout and '[arg-type]' in done.stdout


def test_what_it_depends_on_is_installed_here():
    depends = field('Depends')
    for package in ('uwsgi-core', 'uwsgi-abi-', 'uwsgi-plugin-python3', 'libev4', 'libboost-context', 'libcurl4', 'libpython3'):
        assert package in depends, depends
    assert field('Conflicts') == ''
    done = subprocess.run(['dpkg', '--dry-run', '--install', PACKAGE], capture_output=True, text=True)
    assert 'dependency problems' not in done.stdout + done.stderr


def test_dpkg_installs_it(tmp_path):
    """Into a root of its own, which has none of what it depends on."""
    root = tmp_path / 'root'
    (root / 'var/lib/dpkg/updates').mkdir(parents=True)
    (root / 'var/lib/dpkg/info').mkdir()
    (root / 'var/lib/dpkg/status').touch()
    subprocess.run(['dpkg', f'--root={root}', '--force-depends', '--force-not-root', '--install', PACKAGE],
                   check=True, capture_output=True)
    status = subprocess.check_output(['dpkg', f'--root={root}', '-s', NAME], text=True)
    assert 'Status: install ok installed' in status
    assert (root / 'usr/lib/uwsgi/plugins/tornado_plugin.so').exists()


def test_tarball_is_what_is_committed():
    listed = subprocess.check_output(['git', 'ls-tree', '-r', '--name-only', 'HEAD'], text=True, cwd=conftest.ROOT).split('\n')
    with tarfile.open(TARBALL) as tarball:
        names = [pathlib.PurePath(member.name) for member in tarball if not member.isdir()]
    assert {name.parts[0] for name in names} == {f'uwsgi-tornado-{changelog_version()}'}
    assert sorted(str(pathlib.PurePath(*name.parts[1:])) for name in names) == sorted(filter(None, listed))
