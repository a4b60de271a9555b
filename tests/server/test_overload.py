"""More work than cores: the listen queue holds it, or a refusal comes in time, and nothing spins."""
import collections
import contextlib
import http.client
import socket
import ssl
import time

import pytest

import clients
from clients import body_of
from conftest import EMBEDDED, free_port
from crowd import GET, HOLD, ask_at_once, backlog, cores_taken, raise_descriptor_limit, status_of
from health import closed_by_server, read_until, unharmed

CORES = 4
HTTP = [] if EMBEDDED else ['--plugin', 'http']  # Debian has the router in a file.
REFUSE = ['--tornado-overload-status', '503', '--tornado-overload-wait', '0.2']


INTERFACES = pytest.mark.parametrize('app', ['overload.py', 'overload_asgi.py'], ids=['wsgi', 'asgi'])


def assert_refused(answer, status=b'503 Service Unavailable'):
    head, body = answer.split(b'\r\n\r\n', 1)
    assert status in head.split(b'\r\n')[0]
    assert b'\r\nRetry-After: 1' in head and b'\r\nConnection: close' in head
    assert body == status[4:] + b'\n'


def all_workers_serve(running, workers):
    """Waits until each has been started."""
    seen, deadline = set(), time.monotonic() + 30
    while len(seen) < workers and time.monotonic() < deadline:
        seen |= {body_of(answer) for answer in ask_at_once(running.port, workers, b'GET /?0.05 HTTP/1.0\r\n\r\n')}
    assert len(seen) == workers


@pytest.mark.smoke
@INTERFACES
@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_full_worker_answers_503_after_the_wait(server, protocol, app):
    running = server(app, *REFUSE, cores=CORES, protocol=protocol)
    with cores_taken(running, CORES):
        for answer in ask_at_once(running.port, 30):
            assert_refused(answer)
    assert running.get()[0] == 200
    running.wait_for_log('cores are free again: 30 connections were answered 503')
    assert running.log.count('all 4 cores busy for 0.2 s: answering 503') == 1


@pytest.mark.parametrize('protocol', ['uwsgi-socket', 'scgi-socket', 'fastcgi-socket'])
def test_refusal_speaks_the_protocol_of_its_socket(server, tmp_path, protocol):
    path = str(tmp_path / 'socket')
    running = server('overload.py', f'--{protocol}', path, '--tornado-overload-status', '429',
                     '--tornado-overload-wait', '0', cores=CORES)
    with cores_taken(running, CORES):
        for _ in range(10):
            assert_refused(clients.CLIENTS[protocol](path, '/', 'POST', b'x' * 5000), b'429 Too Many Requests')


def test_refusal_comes_through_the_router(server, tmp_path):
    port, path = free_port(), str(tmp_path / 'behind')
    running = server('overload.py', *HTTP, '--http', f'127.0.0.1:{port}', '--http-to', path, '--socket', path, '--master',
                     *REFUSE, cores=CORES)
    with cores_taken(running, CORES):
        for answer in ask_at_once(port, 10):
            assert_refused(answer)


@INTERFACES
def test_refusal_is_not_lost_with_the_body_nobody_read(server, app):
    """A socket closed with bytes unread resets its connection, and the answer with it."""
    running = server(app, *REFUSE, cores=CORES)
    with cores_taken(running, CORES):
        for _ in range(10):
            assert running.get(method='POST', body=b'x' * 500000)[0] == 503


@INTERFACES
def test_refused_client_that_stays_is_closed(server, app):
    running = server(app, *REFUSE, cores=CORES)
    with cores_taken(running, CORES):
        descriptors = running.descriptors()
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                connection = stack.enter_context(running.connect())
                connection.sendall(GET)
                assert_refused(closed_by_server(connection))
            deadline = time.monotonic() + 10
            while running.descriptors() > descriptors and time.monotonic() < deadline:
                time.sleep(0.01)
            assert running.descriptors() <= descriptors


@INTERFACES
def test_worker_that_refuses_does_not_spin(server, app):
    running = server(app, *REFUSE, cores=CORES)
    with cores_taken(running, CORES):
        assert_refused(ask_at_once(running.port, 1)[0])
        before = running.cpu_s()
        time.sleep(0.8)  # The time over which CPU is measured.
        assert running.cpu_s() - before < 0.1


@INTERFACES
def test_nobody_is_refused_before_the_wait_is_over(server, app):
    running = server(app, *REFUSE[:3], '60', cores=CORES)
    with contextlib.ExitStack() as stack:
        with cores_taken(running, CORES):
            waiting = [stack.enter_context(running.connect()) for _ in range(10)]
            for connection in waiting:
                connection.sendall(GET)
        for connection in waiting:
            assert status_of(closed_by_server(connection)) == 200
    assert 'answering' not in running.log


@INTERFACES
def test_the_wait_goes_on_while_cores_change_hands(server, app):
    """Each core is free again and again, for a moment, and the queue grows all the same."""
    running = server(app, '--listen', backlog(256), *REFUSE, cores=CORES)
    answers = ask_at_once(running.port, 100, b'GET /?0.2 HTTP/1.0\r\n\r\n')
    assert set(map(status_of, answers)) == {200, 503}


def test_tls_clients_wait_where_others_are_refused(server, certificate):
    """A refusal would need a handshake, and that a core."""
    port = free_port()
    running = server('overload.py', '--https-socket', f'127.0.0.1:{port},{certificate[0]},{certificate[1]}', *REFUSE,
                     cores=CORES)
    with socket.create_connection(('127.0.0.1', port), timeout=30) as plain:
        context = ssl._create_unverified_context()
        with cores_taken(running, CORES):
            assert_refused(ask_at_once(running.port, 1)[0])
        with context.wrap_socket(plain) as connection:
            connection.sendall(GET)
            assert status_of(closed_by_server(connection)) == 200


def test_nobody_is_refused_while_another_worker_has_cores(server):
    """The workers' sockets are the same: whoever has no core leaves the client to the other."""
    running = server('overload.py', '--master', '--processes', '2', *REFUSE, cores=CORES)
    all_workers_serve(running, 2)
    with cores_taken(running, 2 * CORES - 1):
        end = time.monotonic() + 0.6  # The wait, some times over.
        while time.monotonic() < end:
            assert running.get()[0] == 200


@INTERFACES
def test_all_workers_refuse_once_all_are_full(server, app):
    running = server(app, '--master', '--processes', '2', *REFUSE, cores=CORES)
    all_workers_serve(running, 2)
    with cores_taken(running, 2 * CORES):
        for answer in ask_at_once(running.port, 30):
            assert_refused(answer)
    assert running.get()[0] == 200


@pytest.mark.parametrize('options', [[], REFUSE], ids=' '.join)
def test_a_flood_is_served_or_refused(server, options):
    """Clients beyond the listen queue are asked again by their own kernel."""
    raise_descriptor_limit(4000)
    running = server('bad.py', '--listen', backlog(1024), *options, cores=50)
    with unharmed(running, 50):
        answers = ask_at_once(running.port, 1000, b'GET /sleep?0.02 HTTP/1.0\r\n\r\n')
        counts = collections.Counter(map(status_of, answers))
        assert set(counts) <= ({200, 503} if options else {200}), counts
        assert counts[200] > 0


# --- Fair shares --------------------------------------------------------------------------

def test_worker_that_has_less_takes_what_comes(server):
    """Both wake for each connection, and the one that is busier waits for the other."""
    running = server('overload.py', '--master', '--processes', '2', '--listen', backlog(256), cores=100)
    all_workers_serve(running, 2)
    with contextlib.ExitStack() as stack:
        held = collections.defaultdict(list)
        for _ in range(60):
            connection = stack.enter_context(running.connect())
            held[hold(connection)].append(connection)
        freed, kept = sorted(held, key=lambda pid: len(held[pid]))
        assert len(held[kept]) < 50, held
        for connection in held[freed]:
            connection.sendall(b'x')
            assert closed_by_server(connection).endswith(b'let go')
        takers = [hold(stack.enter_context(running.connect())) for _ in range(15)]
    assert takers.count(freed) > 11, takers


def hold(connection):
    """Asks for a request that holds its core: the pid of the worker that has it."""
    connection.sendall(HOLD)
    read_until(connection, b'\r\n\r\n')
    return read_until(connection, b' ')


@pytest.mark.parametrize('workers', [2, 4])
def test_no_worker_takes_most_of_a_burst(server, workers):
    running = server('overload.py', '--master', '--processes', str(workers), '--listen', backlog(256), cores=100)
    all_workers_serve(running, workers)
    answers = ask_at_once(running.port, 30 * workers, b'GET /?0.5 HTTP/1.0\r\n\r\n')
    served = collections.Counter(map(body_of, answers))
    assert max(served.values()) < 0.8 * 30 * workers, served


def test_kept_connections_are_shared(server):
    """One that has them all serves them all, for as long as they are kept."""
    running = server('overload.py', '--master', '--processes', '2', cores=100, protocol='http11-socket')
    all_workers_serve(running, 2)
    served = collections.Counter()
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            connection = http.client.HTTPConnection('127.0.0.1', running.port, timeout=30)
            stack.enter_context(contextlib.closing(connection)).request('GET', '/')
            served[connection.getresponse().read()] += 1
    assert len(served) == 2 and min(served.values()) > 15, served
