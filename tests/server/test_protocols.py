"""Every protocol and kind of socket uWSGI serves, the routers in front, and other plugins beside Python."""
import functools
import json
import ssl
import subprocess
import urllib.request

import pytest

import clients
from clients import CLIENTS, at_once, body_of
from conftest import APPS, EMBEDDED, free_port
from health import closed_by_server

HTTP = [] if EMBEDDED else ['--plugin', 'http']
MASTERS = [[], ['--lazy-apps'], ['--master'], ['--master', '--lazy-apps']]


@pytest.fixture(scope='session')
def certificate(tmp_path_factory):
    """A certificate and its key, signed by itself."""
    folder = tmp_path_factory.mktemp('tls')
    certificate, key = folder / 'certificate.pem', folder / 'key.pem'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost',
                    '-keyout', str(key), '-out', str(certificate)], check=True, capture_output=True)
    return f'{certificate},{key}'


def assert_served(ask, path=''):
    """A body, a query and ten waits at once, through `ask(path, method, body)`."""
    said = json.loads(body_of(ask(f'{path}/?a=b', 'POST', b'x' * 100_000)))
    assert (said['method'], said['query'], len(said['body'])) == ('POST', 'a=b', 100_000)
    assert [body_of(answer) for answer in at_once([lambda: ask('/wait?0.1')] * 10)] == [b'waited'] * 10


@pytest.mark.smoke
@pytest.mark.parametrize('protocol', CLIENTS)
@pytest.mark.parametrize('kind', ['tcp', 'unix'])
def test_protocol(server, tmp_path, protocol, kind):
    address = free_port() if kind == 'tcp' else str(tmp_path / 'socket')
    server('wire.py', f'--{protocol}', f'127.0.0.1:{address}' if kind == 'tcp' else address)
    ask = functools.partial(CLIENTS[protocol], address)
    if protocol == 'http11-socket':
        assert b'200 OK' in ask('/')
    assert_served(ask)


def test_all_protocols_at_once(server, tmp_path):
    """Several sockets of one worker; each connection is served in its own protocol."""
    options = [word for name in CLIENTS for word in (f'--{name}', str(tmp_path / name))]
    running = server('wire.py', *options, cores=100)
    jobs = [functools.partial(client, str(tmp_path / name), f'/?{name}-{n}', 'POST', name.encode())
            for name, client in CLIENTS.items() for n in range(15)]
    before = running.descriptors()
    answers = [json.loads(body_of(answer)) for answer in at_once(jobs)]
    assert [(a['query'], a['body']) for a in answers] == [
        (f'{name}-{n}', name) for name in CLIENTS for n in range(15)]
    assert running.get()[0] == 200
    assert running.descriptors() <= before + 1


def test_raw_socket(server, tmp_path):
    address = str(tmp_path / 'raw')
    server('wire.py', '--raw-socket', address, '--python-raw', str(APPS / 'raw.py'))
    assert at_once([lambda: clients.exchange(address, b'hello')] * 20) == [b'olleh'] * 20


def router_to(tmp_path):
    """The router is a process of its own that speaks the uwsgi protocol to the worker."""
    return ['--master', '--http-to', str(tmp_path / 'behind'), '--socket', str(tmp_path / 'behind')]


def https_get(port, path, timeout_s=30):
    context = ssl._create_unverified_context()
    with urllib.request.urlopen(f'https://127.0.0.1:{port}{path}', context=context, timeout=timeout_s) as response:
        return response.read()


@pytest.mark.parametrize('option', ['--https-socket', '--https'])
def test_https(server, tmp_path, certificate, option):
    """By the worker itself, and by the router in front of it."""
    port = free_port()
    running = server('wire.py', *HTTP, option, f'127.0.0.1:{port},{certificate}',
                     *(router_to(tmp_path) if option == '--https' else []))
    assert json.loads(https_get(port, '/?a=b'))['scheme'] == 'https'
    assert at_once([lambda: https_get(port, '/wait?0.2')] * 20) == [b'waited'] * 20
    assert running.get()[0] == 200


def test_tls_client_that_stalls_or_speaks_no_tls_frees_its_core(server, certificate):
    port = free_port()
    running = server('wire.py', *HTTP, '--https-socket', f'127.0.0.1:{port},{certificate}', '--socket-timeout', '1', cores=3)
    before = None
    for _ in range(3):
        stalled = [clients.connect(port) for _ in range(6)]
        for connection, said in zip(stalled, [b'', b'GET / HTTP/1.0\r\n\r\n', b'\x16\x03\x01'] * 2):
            connection.sendall(said)
        for connection in stalled:
            assert not closed_by_server(connection).startswith(b'HTTP')
            connection.close()
        assert https_get(port, '/wait?0') == b'waited'
        before = before or running.descriptors()
    assert running.descriptors() <= before


def test_http_router_in_front(server, tmp_path):
    port = free_port()
    server('wire.py', *HTTP, '--http', f'127.0.0.1:{port}', *router_to(tmp_path))
    assert_served(functools.partial(clients.http, port))


@pytest.mark.parametrize('options', MASTERS, ids=' '.join)
def test_several_workers_each_get_work(server, options):
    running = server('wire.py', *options, '--processes', '3')
    pids = set()
    for _ in range(20):
        results, _ = running.get_all(['/wait?0.05', '/'] * 20)
        assert [r[0] for r in results] == [200] * 40
        pids |= {json.loads(r[2])['pid'] for r in results[1::2]}
        if len(pids) == 3:
            break
    assert len(pids) == 3


@pytest.mark.parametrize('options', MASTERS, ids=' '.join)
def test_one_worker(server, options):
    running = server('wire.py', *options)
    results, seconds = running.get_all(['/wait?0.2'] * 40)
    assert [r[2] for r in results] == [b'waited'] * 40
    assert seconds < 40 * 0.2 / 5


@pytest.mark.parametrize('options', MASTERS, ids=' '.join)
def test_mounts(server, options):
    running = server(None, *options, '--manage-script-name', '--mount', f'/wire={APPS / "wire.py"}',
                     '--mount', f'/basic={APPS / "basic.py"}')
    results, _ = running.get_all(['/wire/?x', '/basic/', '/wire/wait?0.05', '/basic/sleep?0.05'] * 10)
    assert [r[2] for r in results[1::4] + results[3::4]] == [b'hello'] * 20
    assert [r[2] for r in results[2::4]] == [b'waited'] * 10
    said = json.loads(results[0][2])
    assert (said['script'], said['path'], said['query']) == ('/wire', '/', 'x')


def test_routing(server):
    running = server(
        'wire.py', '--route', '^/away break:403 Away', '--route', '^/short send:routed',
        '--route', '^/add addvar:HTTP_X_TEST=added', '--route', '^/add setpathinfo:/',
        '--route-host', '^elsewhere$ break:404 Nowhere')
    assert running.get('/away')[0] == 403
    assert running.get('/', headers={'Host': 'elsewhere'})[0] == 404
    assert json.loads(running.get('/add')[2])['header'] == 'added'
    assert [r[0] for r in running.get_all(['/away', '/wait?0.05'] * 20)[0]] == [403, 200] * 20
    assert json.loads(running.get('/')[2])['header'] is None


@pytest.mark.skipif(bool(EMBEDDED), reason='the embedded binary has no cgi plugin inside')
def test_cgi_beside_python(server):
    """A plugin that is not Python waits for its program's output through uWSGI's hooks."""
    running = server('wire.py', '--plugin', 'cgi', '--cgi', f'/program={APPS / "cgi.sh"}', '--route', '^/program uwsgi:,9,0',
                     '--plugin', 'router_uwsgi', '--check-static', '/nowhere', cores=60)
    results, seconds = running.get_all(['/program?x', '/wait?0.3', '/?y'] * 15)
    assert [r[2] for r in results[::3]] == [b'cgi says x'] * 15
    assert [r[2] for r in results[1::3]] == [b'waited'] * 15
    assert seconds < 15 * 0.3 / 1.5
