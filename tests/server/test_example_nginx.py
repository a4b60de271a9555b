"""examples/nginx: a real nginx in front, with requests, websockets and server-sent events."""
import contextlib
import json
import re
import signal
import socket

import pytest

import clients
from conftest import websocket_to
from deployed import deployed
from health import closed_by_server
from overlap import wait_until
from services import Nginx

QUICK = 20

class Site(Nginx):
    """nginx with the example's site; uWSGI's sockets are in its folder, and it need not be there yet."""

    def set_up(self):
        deployed('nginx', self.folder, {'/run/app': self.folder, 'listen 80;': f'listen 127.0.0.1:{self.port};'})
        self.configure(f'include {self.folder}/site.conf;')


@pytest.fixture(scope='module')
def site():
    started = Site()
    yield started
    started.stop()


@pytest.fixture
def start(server, site):
    def run(*options):
        # nginx is of another user here, if the tests are root's.
        running = server(None, '--master', '--ini', str(site.folder / 'uwsgi.ini'), '--chmod-socket=666', *options)
        assert {'uwsgi.sock', 'http.sock'} <= {file.name for file in site.folder.iterdir()}
        running.port = site.port  # Whatever is asked goes through nginx.
        return running
    return run


def chat(site):
    return websocket_to(site.port, '/chat')


@contextlib.contextmanager
def stream(site, until=b'data: '):
    with socket.create_connection(('127.0.0.1', site.port), timeout=30) as client:
        client.sendall(b'GET /live/events HTTP/1.0\r\n\r\n')
        received = b''
        while until not in received:
            chunk = client.recv(1000)
            assert chunk, received
            received += chunk
        yield client


def requests_in_the_worker(site):
    with clients.connect(site.folder / 'stats.sock') as stats:
        workers = json.loads(closed_by_server(stats))['workers']
    return sum(core['in_request'] for worker in workers for core in worker['cores'])


@pytest.mark.smoke
def test_requests_go_through_nginx_and_sockets_are_removed(start, site):
    running = start()
    results, seconds = running.get_all(['/sleep'] * QUICK)
    assert [result[0] for result in results] == [200] * QUICK
    assert all(body.startswith(b'hello from core ') for _, _, body in results)
    assert seconds < QUICK / 2
    assert '127.0.0.1 "GET /sleep HTTP/1.1" 200 ' in running.log
    assert b'<title>Chat</title>' in running.get('/chat')[2]
    running.drain()
    assert not list(site.folder.glob('*.sock'))


def test_websockets_go_through_nginx(start, site):
    start()
    with chat(site) as one:
        assert one.recv() == '1 here'
        with chat(site) as two:
            assert (one.recv(), two.recv()) == ('2 here', '2 here')
            two.send('hello')
            assert (one.recv(), two.recv()) == ('hello', 'hello')
        assert one.recv() == '1 here'


def test_events_come_as_they_are_sent(start, site):
    """nginx would keep what fills no buffer of its until the stream ends, and this one does not."""
    running = start()
    with stream(site):
        assert running.get('/')[0] == 200


def test_a_client_that_leaves_nginx_is_noticed(start, site):
    """Its long poll would wait for 20 s."""
    running = start()
    with running.connect() as client:
        client.sendall(b'GET /live/poll HTTP/1.1\r\nHost: x\r\n\r\n')
        wait_until(lambda: requests_in_the_worker(site) == 1)
    ended = '"GET /live/poll HTTP/1.1" [0-9]+ 0 bytes ([0-9]+) ms'
    running.wait_for_log(ended)
    assert int(re.search(ended, running.log)[1]) < 20_000


def test_only_requests_have_a_deadline(start, site):
    running = start('--tornado-request-timeout', '0.5')
    with stream(site) as events, chat(site) as chatting:
        assert chatting.recv() == '1 here'
        assert running.get('/sleep')[0] == 504
        chatting.send('still here')
        assert chatting.recv() == 'still here'
        assert b'data: ' in events.recv(1000)


def test_a_reload_behind_nginx_loses_nothing(start, site):
    """Who waits is told, who comes meanwhile waits at the socket."""
    running = start()
    with stream(site) as events, running.connect() as poll, chat(site) as chatting:
        poll.sendall(b'GET /live/poll HTTP/1.0\r\n\r\n')
        assert chatting.recv() == '1 here'
        wait_until(lambda: requests_in_the_worker(site) == 3)
        running.process.send_signal(signal.SIGHUP)
        assert closed_by_server(events).endswith(b'event: goodbye\ndata: the worker ends\n\n')
        assert chatting.recv_data(control_frame=True)[1][:2] == (1001).to_bytes(2, 'big')
        results, _ = running.get_all(['/'] * QUICK)
        assert [result[0] for result in results] == [200] * QUICK
        assert closed_by_server(poll).endswith(b'\r\n\r\nask again\n')
    running.wait_for_log(r'\(master-start\)', count=2)
