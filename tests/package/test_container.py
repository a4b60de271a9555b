"""examples/container: the image is built and run, hardened as its compose file says. containers.py says with what."""
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest
import yaml

import containers
from conftest import ROOT
from overlap import wait_until
from services import Nginx, free_port

EXAMPLE = ROOT / 'examples/container'
COMPOSE = yaml.safe_load((EXAMPLE / 'compose.yaml').read_text())
APP = COMPOSE['services']['app']
QUICK = 20

@pytest.fixture(scope='module')
def engine():
    if os.environ.get('OWN_MOUNTS') and not os.path.exists('/sys/fs/cgroup/cgroup.controllers'):
        # crun refuses a mixture of the two versions of control groups. Here, in a mount namespace of ours, is only the second.
        subprocess.run(['mount', '-t', 'cgroup2', 'none', '/sys/fs/cgroup'], check=True)
    chosen = containers.engine()
    print(f'\nbuilt and run with {chosen.name}')
    chosen.build()
    return chosen


class Running:
    """The application in a container."""

    def __init__(self, engine, folder, database):
        self.port = free_port()
        self.container = engine.start(folder, {
            'PORT': self.port, 'PGHOST': '127.0.0.1', 'PGPORT': database.port, 'PGUSER': 'app', 'PGDATABASE': 'postgres'})
        try:
            wait_until(lambda: self.get('/healthz') == (200, 'ok\n') or self.container.process.poll() is not None)
            assert self.container.process.poll() is None, self.stdout + self.stderr
        except BaseException:
            self.container.kill()
            raise

    def get(self, path, port=None):
        try:
            with urllib.request.urlopen(f'http://127.0.0.1:{port or self.port}{path}', timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return None, str(error)

    @property
    def stdout(self):
        return self.container.stdout.read_text()

    @property
    def stderr(self):
        return self.container.stderr.read_text()

    def status(self, field):
        return re.search(rf'^{field}:\s*(.*)$', self.container.status(), re.MULTILINE)[1]


@pytest.fixture
def app(engine, postgres, tmp_path):
    running = Running(engine, tmp_path, postgres)
    yield running
    running.container.kill()


def test_the_compose_file_runs_it_as_these_tests_do():
    assert APP['read_only'] and APP['tmpfs'] == ['/tmp'] and APP['cap_drop'] == ['ALL'] and APP['security_opt'] == ['no-new-privileges:true']
    context = (EXAMPLE / APP['build']['context']).resolve()
    assert context == ROOT and (context / APP['build']['dockerfile']).is_file()
    assert all((EXAMPLE / volume.split(':')[0]).exists() for volume in COMPOSE['services']['nginx']['volumes'])
    awaited = {name for service in COMPOSE['services'].values() for name in service.get('depends_on', {})}
    assert awaited == {'app', 'postgres'} and 'healthcheck' in COMPOSE['services']['postgres']


def test_times_grow_from_the_inside_to_the_outside():
    settings = dict(line.split(' = ') for line in (EXAMPLE / 'uwsgi.ini').read_text().splitlines() if ' = ' in line and line[0] != '#')
    grace = int(APP['stop_grace_period'].removesuffix('s'))
    proxy = int(re.search(r'proxy_read_timeout (\d+)s', (EXAMPLE / 'nginx.conf').read_text())[1])
    assert int(settings['tornado-request-timeout']) < int(settings['worker-reload-mercy']) < grace
    assert int(settings['tornado-request-timeout']) < proxy


def test_it_has_no_rights_and_nothing_to_write_to(app):
    assert app.status('Name') == 'uwsgi'
    assert app.status('Uid').split() == ['1000'] * 4 and app.status('Gid').split() == ['1000'] * 4
    assert int(app.status('CapEff'), 16) == int(app.status('CapBnd'), 16) == 0 and app.status('NoNewPrivs') == '1'
    for file in ('/srv/app/new', '/usr/local/bin/new', '/new'):
        done = app.container.execute('touch', file)
        assert done.returncode != 0 and 'Read-only file system' in done.stderr, (file, done)
    assert app.container.execute('touch', '/tmp/new').returncode == 0


def test_requests_share_a_worker_while_postgresql_works(app):
    assert [app.get('/'), app.get('/')] == [(200, 'visit 1\n'), (200, 'visit 2\n')]
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(QUICK) as pool:
        assert set(pool.map(app.get, ['/slow'] * QUICK)) == {(200, 'waited\n')}
    assert time.monotonic() - began < QUICK / 2


def test_its_log_is_on_stdout(app):
    assert app.get('/nowhere')[0] == 404
    wait_until(lambda: '"GET /nowhere HTTP/1.1" 404 ' in app.stdout)
    assert 'tornado: 40 cores on fibers' in app.stdout and app.stderr.count('\n') <= 1, app.stderr


def test_its_health_check_tells_a_worker_that_answers_from_one_that_does_not(engine, app):
    check = engine.health_check()
    done = app.container.execute(*check)
    assert done.returncode == 0, done
    app.container.execute('python3', '-c', 'import os, signal; os.kill(-1, signal.SIGSTOP)')
    assert app.container.execute(*check).returncode != 0
    app.container.execute('python3', '-c', 'import os, signal; os.kill(-1, signal.SIGCONT)')


def test_sigterm_lets_requests_finish_and_ends_it(app, postgres):
    with concurrent.futures.ThreadPoolExecutor(QUICK) as pool:
        asked = [pool.submit(app.get, '/slow') for _ in range(QUICK)]
        wait_until(lambda: postgres.query("select count(*) from pg_stat_activity where query like '%pg_sleep(1)%' and state = 'active'")[0][0] > QUICK)
        app.container.stop_command(signal.SIGTERM)
        assert {request.result() for request in asked} == {(200, 'waited\n')}
    assert app.container.process.wait(30) == 0, app.stdout
    assert app.get('/healthz')[0] is None


class Site(Nginx):
    """A real nginx with the example's file."""

    def __init__(self, app):
        self.app = app
        super().__init__()

    def set_up(self):
        site = (EXAMPLE / 'nginx.conf').read_text()
        for old, new in {'listen 80;': f'listen 127.0.0.1:{self.port};', 'http://app:8000': f'http://127.0.0.1:{self.app.port}'}.items():
            assert old in site
            site = site.replace(old, new)
        self.configure(site)

    def is_ready(self):
        return self.app.get('/nowhere', self.port)[0] == 404


def test_behind_nginx(app):
    site = Site(app)
    try:
        assert app.get('/slow', site.port) == (200, 'waited\n')
        assert app.get('/healthz', site.port)[0] == 404
    finally:
        site.stop()


def test_the_readme_says_what_it_weighs(engine):
    said = int(re.search(r'adds (\d+) MB to', (EXAMPLE / 'README.md').read_text())[1])
    measured = engine.added_bytes() / 1e6
    print(f'\nthe image adds {measured:.1f} MB to its base')
    assert abs(said - measured) < said * 0.15
