"""Unchanged Tornado in the workers: its clients in requests, its servers beside them."""
import asyncio
import contextlib
import http.client
import json

import pytest
import websockets

from clients import at_once
from overlap import REQUESTS, ask_at_once, assert_far_below_serial, assert_overlap
from services import accepts, first_of_free_ports, wait_until

CLIENTS = 10


@pytest.fixture
def start(server, upstream):
    def start_with(*options, cores=20):
        base = first_of_free_ports(2)
        environ = {'UPSTREAM': f'http://127.0.0.1:{upstream.port}', 'PORT': str(base)}
        running = server('with_tornado.py', '--master', *options, cores=cores, environ=environ)
        running.tornado_ports = [base + 1, base + 2]
        return running
    return start_with


@pytest.fixture
def ask(start):
    running = start()

    def answer(path):
        status, _, body = running.get(path)
        assert status == 200, running.log[running.log.index('cores on fibers'):]
        return body.decode()

    return answer


def fetch(port, path, body=None):
    with contextlib.closing(http.client.HTTPConnection('127.0.0.1', port, timeout=30)) as connection:
        connection.request('POST' if body else 'GET', path, body=body)
        response = connection.getresponse()
        return response.status, response.read().decode()


@pytest.mark.parametrize('options', [(), ('--lazy-apps',)])
def test_current_loop_is_the_workers(start, options):
    running = start(*options)
    assert running.get('/identity')[2] == b'True True True True'


@pytest.mark.smoke
def test_fetches_of_requests_overlap(start):
    running = start(cores=REQUESTS)
    assert_overlap(running, '/fetch', lambda n: f'/{n}')


def test_errors_of_fetches(ask):
    assert ask('/fetch_errors') == 'HTTPTimeoutError 599, ConnectionRefusedError '


def test_coroutines_of_both_kinds(ask):
    assert ask('/coroutines') == repr(({'yielding': ['/y0', '/y1'], 'awaiting': '/a'}, '/b'))


def test_queues_and_locks(ask):
    assert ask('/queue_and_locks') == repr(([*range(10)], 1, True))


def test_streams_of_a_tcp_server(ask):
    assert ask('/streams') == repr([b'ONE; TWO 22', b' THREE\n', b'BYTES', b' AGAIN\n', b'BYE\n', True])


@pytest.mark.parametrize('quantum', ['0.1', '10'])
def test_streams_driven_by_requests(start, quantum):
    running = start('--tornado-quantum', quantum, cores=REQUESTS)
    assert ask_at_once(running, '/raw_stream')[0] == [f'HELLO {n}\n' for n in range(REQUESTS)]


def test_stream_notices_that_its_peer_closed(ask):
    assert ask('/closes') == repr((b'rest', 'closed'))


def test_subprocesses(ask):
    assert ask('/subprocess') == repr(((100000, b'error', 3), 4))


def test_executor(ask):
    assert ask('/executor') == 'from a thread'


def test_handlers_of_raw_sockets(ask):
    assert ask('/handlers') == repr((b'written', b'answer', True, True, 2))


def test_timeouts_and_callbacks_of_requests(ask):
    assert ask('/timeouts') == repr(['callback', 'spawned', 'deadline', 'timedelta', 'call_at', 'future'])


@pytest.mark.smoke
@pytest.mark.parametrize('options', [(), ('--lazy-apps',)])
def test_each_worker_listens_on_its_port(start, options):
    running = start('--processes', '2', *options)
    for worker, port in enumerate(running.tornado_ports, 1):
        wait_until(lambda: accepts(port), 'a worker to listen')
        assert fetch(port, '/page/<x>') == (200, f'<p>&lt;x&gt;0 &lt;x&gt;1 {worker}</p>')
        status, answer = fetch(port, '/sum', '[1, 2, 3]')
        assert (status, json.loads(answer)) == (200, {'sum': 6, 'page': '/sum', 'worker': worker})
    assert running.get('/identity')[2] == b'True True True True'


def test_handlers_and_requests_are_served_together(start):
    running = start(cores=REQUESTS)
    port, = running.tornado_ports[:1]
    wsgi = [lambda n=n: ask_at_once(running, '/fetch', 10) for n in range(3)]
    answers = at_once([*wsgi, *(lambda: fetch(port, '/slow') for _ in range(30))])
    assert answers[3:] == [(200, 'slow')] * 30
    for texts, seconds in answers[:3]:
        assert texts == [f'/{n}' for n in range(10)]
        assert_far_below_serial(seconds, 40)


def test_error_of_a_handler_is_its_own(start):
    running = start()
    assert fetch(running.tornado_ports[0], '/fails')[0] == 500
    assert 'LookupError: in a handler' in running.log
    assert running.get('/executor')[0] == 200


@pytest.mark.smoke
def test_websockets_talk_and_hear_the_news(start):
    running = start()
    url = f'ws://127.0.0.1:{running.tornado_ports[0]}/chat'

    async def talk(number):
        async with websockets.connect(url) as chat:
            assert await chat.recv() == 'welcome'
            await chat.send(f'{number}')
            await chat.send(b'abc')
            heard = [await chat.recv() for _ in range(4)]
            while heard.count('/news') < 2:
                heard.append(await chat.recv())
        return heard

    async def all_talk():
        return await asyncio.wait_for(asyncio.gather(*(talk(n) for n in range(CLIENTS))), 30)

    for number, heard in enumerate(asyncio.run(all_talk())):
        assert [message for message in heard if message != '/news'] == [f'echo {number}', b'cba']


def test_drain_closes_websockets_that_are_open(start):
    running = start()

    async def stay():
        async with websockets.connect(f'ws://127.0.0.1:{running.tornado_ports[0]}/chat') as chat:
            assert await chat.recv() == 'welcome'
            loop = asyncio.get_running_loop()
            ended = loop.run_in_executor(None, running.drain)
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    await asyncio.wait_for(chat.recv(), 20)
            return await ended

    assert asyncio.run(stay()) == 0
    assert 'Traceback' not in running.log


@pytest.mark.parametrize('options, module', [((), b'tornado.simple_httpclient'), (('--tornado-http-client',), b'uwsgi_tornado')])
def test_client_of_tornado_is_ours_where_the_option_says_so(server, options, module):
    assert server('tornado_client.py', *options).get('/')[2] == b'True ' + module
