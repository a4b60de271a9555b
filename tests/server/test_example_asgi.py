"""The examples of ASGI applications run as their READMEs say."""
import json
import urllib.request

import pytest

from conftest import ROOT, websocket_to
from overlap import assert_far_below_serial, ask_at_once

COUNT = 50


def ini(name):
    return str(ROOT / 'examples' / name / 'uwsgi.ini')


@pytest.mark.smoke
def test_starlette_websockets(server):
    running = server(None, '--ini', ini('starlette_websockets'), protocol='http11-socket')
    with websocket_to(running.port, '/chat') as one, websocket_to(running.port, '/chat') as two:
        one.send('hello')
        assert [one.recv(), two.recv()] == ['hello'] * 2
        with urllib.request.urlopen(f'http://127.0.0.1:{running.port}/', b'posted', timeout=30) as response:
            assert response.read() == b'["hello","posted"]'
        assert [one.recv(), two.recv()] == ['posted'] * 2
    assert running.get('/ticks')[2] == b'0\n1\n2\n3\n4\n'


def test_fastapi_postgresql(server, postgres):
    running = server(None, '--ini', ini('fastapi_postgresql'), protocol='http11-socket', cores=80, environ={
        'PGHOST': '127.0.0.1', 'PGPORT': str(postgres.port), 'PGUSER': 'app', 'PGDATABASE': 'postgres'})
    assert [json.loads(running.get('/visits/home', 'POST')[2])['count'] for _ in range(2)] == [1, 2]
    assert json.loads(running.get('/visits')[2]) == {'home': 2}
    answers, seconds = ask_at_once(running, '/slow', COUNT)
    assert len(set(answers)) == COUNT  # A session each.
    assert_far_below_serial(seconds, COUNT, wait_s=1)


def test_django_wsgi_asgi(server):
    running = server(None, '--ini', ini('django_wsgi_asgi'), protocol='http11-socket', cores=200)
    assert "mount point '/' is served as WSGI" in running.log and "mount point '/live' is served as ASGI" in running.log
    running.get('/blocking')
    told = json.loads(running.get('/live/waiting')[2])
    assert told == {'process': running.process.pid, 'visits': ['/blocking', '/live/waiting']}
    results, seconds = running.get_all(['/blocking', '/live/waiting'] * COUNT)
    assert {result[0] for result in results} == {200}
    assert_far_below_serial(seconds, 2 * COUNT, wait_s=0.5)
