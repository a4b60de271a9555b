"""The example of an ASGI application runs as its README says."""
import urllib.request

import pytest

from conftest import ROOT, websocket_to

INI = ROOT / 'examples' / 'starlette_websockets' / 'uwsgi.ini'


@pytest.mark.smoke
def test_starlette_websockets(server):
    running = server(None, '--ini', str(INI), protocol='http11-socket')
    with websocket_to(running.port, '/chat') as one, websocket_to(running.port, '/chat') as two:
        one.send('hello')
        assert [one.recv(), two.recv()] == ['hello'] * 2
        with urllib.request.urlopen(f'http://127.0.0.1:{running.port}/', b'posted', timeout=30) as response:
            assert response.read() == b'["hello","posted"]'
        assert [one.recv(), two.recv()] == ['posted'] * 2
    assert running.get('/ticks')[2] == b'0\n1\n2\n3\n4\n'
