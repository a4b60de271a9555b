"""uwsgi_tornado.stopping: whoever goes on for long hears that the worker ends."""
import contextlib
import http.client
import os
import signal

import pytest

from health import closed_by_server, read_until

RELOAD_CODE = 17


@pytest.fixture
def start(server):
    return lambda *options, app='ending.py', **more: server(app, *options, **more)


INTERFACES = pytest.mark.parametrize('app', ['ending.py', 'operated_asgi.py'], ids=['wsgi', 'asgi'])


def begin(running, stack, path):
    client = stack.enter_context(running.connect())
    client.sendall(f'GET {path} HTTP/1.0\r\n\r\n'.encode())
    return client


@pytest.mark.smoke
@pytest.mark.parametrize('options', [[], ['--tornado-native-blocking']], ids=['', 'native'])
def test_requests_that_wait_for_it_are_woken(start, options):
    running = start(*options)
    # With blocking calls select() and asyncio.run() would block the worker.
    paths = ['/wait', '/await_it'] if options else ['/wait', '/poll', '/await_it', '/run']
    with contextlib.ExitStack() as stack:
        clients = [begin(running, stack, path) for path in paths * 5]
        running.wait_for_log(': waits', count=len(clients))
        assert running.get('/is_set')[2] == b'False (False, False) False False True'
        running.process.send_signal(signal.SIGHUP)
        for client in clients:
            assert closed_by_server(client).endswith(b'\r\n\r\nTrue True True')
    assert running.process.wait(30) == RELOAD_CODE
    assert 'worker-reload-mercy is over' not in running.log


def test_coroutines_that_wait_for_it_are_woken(start):
    running = start(app='operated_asgi.py')
    with contextlib.ExitStack() as stack:
        clients = [begin(running, stack, '/await_it') for _ in range(5)]
        running.wait_for_log(': waits', count=5)
        running.process.send_signal(signal.SIGHUP)
        for client in clients:
            assert closed_by_server(client).endswith(b'\r\n\r\nTrue True True')
    assert running.process.wait(30) == RELOAD_CODE


def test_tasks_threads_and_spawned_functions_hear_of_it(start):
    running = start()
    assert running.get('/leave')[2] == b'left'
    running.drain()
    for who in ('a task knows', 'a spawned function knows', 'a thread knows: True'):
        assert f': {who}' in running.log


@pytest.mark.smoke
@INTERFACES
def test_stream_that_looks_ends_well(start, app):
    running = start(app=app)
    with contextlib.ExitStack() as stack:
        clients = [begin(running, stack, '/events') for _ in range(10)]
        for client in clients:
            read_until(client, b'event')
        running.process.send_signal(signal.SIGHUP)
        for client in clients:
            assert closed_by_server(client).endswith(b'last\n')
    assert running.process.wait(30) == RELOAD_CODE
    assert running.log.count('the events are closed') == 10


@INTERFACES
def test_stream_without_an_end_is_closed_before_the_mercy_is_over(start, app):
    running = start('--worker-reload-mercy', '2', app=app)
    with contextlib.ExitStack() as stack:
        clients = [begin(running, stack, '/endless') for _ in range(10)]
        for client in clients:
            assert client.recv(15)
        running.process.send_signal(signal.SIGHUP)
        for client in clients:
            closed_by_server(client)
    assert running.process.wait(30) == RELOAD_CODE
    assert running.log.count('the endless stream is closed') == 10
    assert 'worker-reload-mercy is over' not in running.log


@pytest.mark.parametrize('options', [[], ['--lazy-apps']], ids=' '.join)
def test_each_worker_has_its_own(start, options):
    """The one in the place of another has not begun to stop."""
    running = start('--master', '--processes', '2', *options)
    with contextlib.ExitStack() as stack:
        clients = [begin(running, stack, '/wait') for _ in range(20)]
        running.wait_for_log(': waits', count=20)
        pids = running.worker_pids()
        first = next(pid for pid in pids if f'{pid}: waits' in running.log)
        waiting = running.log.count(f'{first}: waits')
        os.kill(first, signal.SIGHUP)
        running.wait_for_log(r'GET /wait', count=waiting)
        running.wait_for_log('Respawned uWSGI worker')
        results, _ = running.get_all(['/is_set'] * 20)
        assert {body for _, _, body in results} == {b'False (False, False) False False True'}
        running.process.send_signal(signal.SIGTERM)
        for client in clients:
            assert closed_by_server(client).endswith(b'True True True')


def test_it_is_a_sleep_that_asyncio_may_cancel(start):
    running = start()
    for _ in range(3):
        assert running.get('/cancel')[2] == b'in time'


def test_where_it_cannot_be_waited_for_it_says_so(start):
    assert start().get('/refused')[2].decode().splitlines() == [
        'stopping.wait() would stop the event loop that runs here',
        'stopping.wait() would stop the event loop that runs here',
        'stopping.wait() in a no_suspend() section would wait for ever',
        'stopping can be awaited only in async code']


def test_child_of_a_request_has_its_own(start):
    running = start()
    assert running.get('/fork')[2] == b'0'
    assert running.get('/fork_and_terminate')[2] == b'-15'
    assert running.get('/is_set')[2].startswith(b'False')


# --- Connections that are kept ---------------------------------------------------------------------

def ask(connection, path):
    connection.request('GET', path)
    response = connection.getresponse()
    return response.getheader('Connection'), response.read()


def test_clients_of_kept_connections_are_told(start):
    """Who waits for an answer is told with it; who asks just then is answered; the others are closed."""
    running = start(protocol='http11-socket')
    with contextlib.ExitStack() as stack:
        held, asking, idle = (stack.enter_context(contextlib.closing(http.client.HTTPConnection('127.0.0.1', running.port, timeout=30)))
                              for _ in range(3))
        for connection in (held, asking, idle):
            assert ask(connection, '/is_set') == (None, b'False (False, False) False False True')
        held.request('GET', '/hold')
        running.wait_for_log(': holds')
        running.process.send_signal(signal.SIGSTOP)  # So that it finds the request and the signal together.
        running.process.send_signal(signal.SIGHUP)
        asking.request('GET', '/is_set')
        running.process.send_signal(signal.SIGCONT)
        answer = asking.getresponse()
        assert answer.status == 200 and answer.read().endswith(b' True')
        answer = held.getresponse()
        assert (answer.getheader('Connection'), answer.read()) == ('close', b'held')
        assert closed_by_server(idle.sock) == b''
    assert running.process.wait(30) == RELOAD_CODE


def test_a_wait_for_it_ends_with_the_request(start):
    running = start('--tornado-request-timeout', '0.3')
    assert running.get('/wait')[0] == 504
    assert 'uwsgi_tornado.RequestTimeout: GET /wait' in running.log
