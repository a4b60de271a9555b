"""examples/cluster: three nodes behind uWSGI's router, nginx and HAProxy; one is killed, stopped, added."""
import collections
import concurrent.futures
import contextlib
import http.client
import threading

import pytest

import cluster
from conftest import free_port, websocket_to
from overlap import wait_until

CLIENTS = 12
FRONTS = {'router': None, 'nginx': cluster.nginx, 'haproxy': cluster.haproxy}


@pytest.fixture(scope='module')
def net():
    with cluster.network() as found:
        yield found


class Cluster:
    def __init__(self, net, folder, stack):
        self.net, self.folder, self.stack = net, folder, stack
        self.router = cluster.Router(net, folder, free_port())
        stack.callback(self.router.stop)
        self.nodes = {}

    def add(self, number):
        node = self.nodes[number] = cluster.Node(self.net, self.folder, number, self.router.site, self.router.key)
        self.stack.callback(node.stop)
        self.router.wait_for(node)
        return node

    def front(self, name):
        if name == 'router':
            return self.router
        front = FRONTS[name](self.net, self.folder, free_port())
        self.stack.callback(front.stop)
        return front


@pytest.fixture
def start(net, tmp_path):
    with contextlib.ExitStack() as stack:
        def begin(nodes=cluster.COUNT):
            started = Cluster(net, tmp_path, stack)
            for number in range(1, nodes + 1):
                started.add(number)
            return started
        yield begin


def ask(front, path='/'):
    """The node that answered."""
    connection = http.client.HTTPConnection(*front.address, timeout=30)
    with contextlib.closing(connection):
        connection.request('GET', path, headers={'Host': front.site})
        response = connection.getresponse()
        body = response.read().decode()
        assert response.status == 200, (response.status, body)
        return body


class Load:
    """CLIENTS at once, one request after the other, until told to end."""

    def __init__(self, front, path='/?wait=0.05'):
        self.answers, self.failures = collections.Counter(), []
        self._front, self._path = front, path
        self._end = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(CLIENTS)

    def _client(self):
        while not self._end.is_set():
            try:
                self.answers[ask(self._front, self._path)] += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failures.append(repr(error))

    def __enter__(self):
        self._clients = [self._pool.submit(self._client) for _ in range(CLIENTS)]
        return self

    def wait_for(self, count, node=None):
        """So many answers more, of that node or of any."""
        def seen():
            return self.answers[node] if node else sum(self.answers.values())
        before = seen()
        wait_until(lambda: seen() >= before + count)

    def __exit__(self, *error):
        self._end.set()
        self._pool.shutdown()
        for client in self._clients:
            client.result()


@pytest.mark.parametrize('name', FRONTS)
def test_node_that_is_killed_takes_only_what_it_was_working_on(start, name):
    started = start()
    front = started.front(name)
    with Load(front) as load:
        load.wait_for(20, 'node2')
        started.nodes[2].kill()
        load.wait_for(100)
        failed = len(load.failures)
        load.wait_for(100)
    assert failed <= CLIENTS  # No client had more than one there.
    assert load.failures[failed:] == []


@pytest.mark.parametrize('name', FRONTS)
def test_node_that_is_stopped_loses_nothing(start, name):
    started = start()
    front = started.front(name)
    with Load(front) as load:
        load.wait_for(20, 'node2')
        assert started.nodes[2].stop() == 0
        load.wait_for(100)
    assert load.failures == []


def test_node_that_is_added_gets_its_share(start):
    started = start(nodes=2)
    with Load(started.router) as load:
        load.wait_for(20)
        started.add(3)
        load.wait_for(20, 'node3')
    assert load.failures == []


def test_node_without_the_key_is_not_taken(start, tmp_path):
    started = start(nodes=1)
    cluster.run('openssl', 'genrsa', '-out', str(tmp_path / 'other.pem'), '2048')
    other = cluster.Node(started.net, tmp_path, 2, started.router.site, tmp_path / 'other.pem')
    started.stack.callback(other.stop)
    other.program.wait_for_log('subscribing to')
    started.add(3)  # Later, and taken.
    assert {ask(started.router) for _ in range(20)} == {'node1', 'node3'}


@pytest.mark.parametrize('name', FRONTS)
def test_websockets_pass(start, name):
    front = start(nodes=cluster.COUNT).front(name)
    with websocket_to(front.address[1]) as client:
        for word in ('one', 'two'):
            client.send(word)
            assert client.recv().endswith(f': {word}')
