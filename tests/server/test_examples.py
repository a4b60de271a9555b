"""The programs of examples/ run as their READMEs say."""
import contextlib
import json
import pathlib
import re
import signal
import socket
import urllib.request

import pytest
import websocket

from conftest import ROOT
from health import closed_by_server, read_until
from overlap import wait_until
from services import first_of_free_ports, free_port

EXAMPLES = ROOT / 'examples'
STARTED_BY_OTHERS = {
    'systemd': 'systemctl enable --now app.socket',
    'supervisor': 'supervisorctl update',
    'container': 'docker compose up',
}


@pytest.fixture
def start(server):
    return lambda name, *options, **more: server(None, '--ini', str(EXAMPLES / name / 'uwsgi.ini'), *options, **more)


@pytest.fixture
def services(pages):
    """The page that the programs fetch: "services", for a path of that name."""
    return f'{pages}/services'


def page(port):
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/', timeout=30) as response:
        return response.read()


def test_every_example_says_how_it_is_started():
    index = (EXAMPLES / 'README.md').read_text()
    for folder in filter(pathlib.Path.is_dir, EXAMPLES.iterdir()):
        assert f'[{folder.name}]({folder.name})' in index
        if folder.name == 'hello':
            continue  # make run starts it.
        start = STARTED_BY_OTHERS.get(folder.name, f'--ini examples/{folder.name}/uwsgi.ini')
        assert start in (folder / 'README.md').read_text(), folder


def test_every_example_has_an_application():
    """Its own, or another's that it names."""
    for ini in EXAMPLES.glob('*/uwsgi.ini'):
        files = [ini, *ini.parent.glob('vassals/*.ini')]
        named = [file.parent / name for file in files for name in re.findall(r'%d(\S+\.py)$', file.read_text(), re.MULTILINE)]
        assert named or (ini.parent / 'manage.py').is_file(), ini
        assert all(path.is_file() for path in named), ini


@pytest.mark.smoke
def test_generator(start):
    results, _ = start('generator').get_all(['/'] * 50)
    assert [body for _, _, body in results] == [b'onetwothree'] * 50


def test_server_sent_events_end_with_the_worker(start):
    running = start('server_sent_events', '--master')
    with running.connect() as stream, running.connect() as poll:
        poll.sendall(b'GET / HTTP/1.0\r\n\r\n')
        stream.sendall(b'GET /events HTTP/1.0\r\n\r\n')
        read_until(stream, b'data: ')
        running.process.send_signal(signal.SIGHUP)
        assert closed_by_server(stream).endswith(b'event: goodbye\ndata: the worker ends\n\n')
        assert closed_by_server(poll).endswith(b'ask again\n')
    running.wait_for_log(r'\(master-start\)', count=2)


def test_tornado_application(start):
    first = first_of_free_ports(2)
    running = start('tornado_application', '--master', environ={'FIRST_PORT': str(first)})
    assert [wait_for_page(running, first + worker) for worker in (1, 2)] == [b'Hello, world'] * 2
    results, _ = running.get_all(['/'] * 20)
    assert all(body.endswith(b'also serves Tornado on port %d\n' % (first + int(body.split()[1]))) for _, _, body in results)


def test_tornado_handlers(start, services):
    running = start('tornado_handlers', environ={'FETCHED': services})
    assert running.get('/')[2] == b'Hello, world'
    assert b'<h1>Tornado on uWSGI</h1>' in running.get('/page')[2]
    assert json.loads(running.get('/json')[2]) == {'from': '127.0.0.1', 'readers': 0}
    assert running.get('/fetch')[2] == b'fetched: services'
    reader = websocket.create_connection(f'ws://127.0.0.1:{running.port}/news')
    assert reader.recv().startswith('news ')
    reader.send('thanks')
    while (message := reader.recv()).startswith('news '):
        pass
    assert message == 'you said thanks'
    reader.close()


def wait_for_page(running, port):
    """Each worker binds as it starts; the log tells of the first alone."""
    while running.process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError):
            with socket.create_connection(('127.0.0.1', port)):
                return page(port)
    pytest.fail(running.log)


def test_greenlet_fetch(start, services):
    results, _ = start('greenlet_fetch', environ={'SERVICES': services}).get_all(['/'] * 50)
    assert [body for _, _, body in results] == [b'services'] * 50


def test_greenlet_fetch_that_fails(start, services):
    running = start('greenlet_fetch', environ={'SERVICES': f'http://127.0.0.1:{free_port()}/'})
    assert running.get('/')[2] == b'no answer\n'
    assert 'Error: [Errno 111] Connection refused' in running.log


def test_greenlet_timer(start, services):
    running = start('greenlet_timer', environ={'SERVICES': services, 'SECONDS': '0.2'})
    results, seconds = running.get_all(['/'] * 50)
    assert [body for _, _, body in results] == [b'services'] * 50
    assert 0.2 <= seconds < 50 * 0.2 / 3


@pytest.mark.parametrize('face, body', [
    ('fetch', b'services'), ('gather', b'services services services'), ('tornado', b'services'), ('requests', b'services')])
def test_fetch(start, services, face, body):
    running = start('fetch', environ={'SERVICES': services})
    results, _ = running.get_all([f'/{face}'] * 50)
    assert [result[2] for result in results] == [body] * 50


def test_fetch_that_fails(start):
    running = start('fetch', environ={'SERVICES': f'http://127.0.0.1:{free_port()}/'})
    status, _, body = running.get('/fetch')
    assert status == 502 and re.search(b"Could(n't| not) connect to server", body)


def test_metrics_for_prometheus(start):
    """Each sample stands under its type, for each worker; a request that waits is among them in time."""
    running = start('metrics', '--master')
    with running.connect() as held:
        held.sendall(b'GET /metrics HTTP/1.0\r\nX: ')  # A connection that has a core, and sends no request.
        wait_until(lambda: sum(samples(running, 'cores_used')) >= 1)
        status, headers, body = running.get('/metrics')
    assert status == 200 and headers['Content-Type'].startswith('text/plain; version=0.0.4')
    lines = body.decode().splitlines()
    for name in {line.split()[2] for line in lines if line.startswith('#')}:
        assert f'# TYPE {name} gauge' in lines or f'# TYPE {name} counter' in lines
        assert {f'{name}{{worker="{worker}"}}' for worker in (1, 2)} == {line.split()[0] for line in lines if line.startswith(name + '{')}


def samples(running, name):
    body = running.get('/metrics')[2].decode()
    return [int(value) for value in re.findall(rf'^uwsgi_tornado_{name}\{{worker="\d+"\}} (\d+)$', body, re.MULTILINE)]
