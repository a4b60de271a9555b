"""uwsgi_tornado.fetch() in requests: the request waits, the others run."""
import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from overlap import REQUESTS, ask_at_once, assert_far_below_serial, assert_overlap
from services import wait_until


@pytest.fixture
def running(server, upstream):
    return server('fetches.py', cores=REQUESTS, environ={'UPSTREAM': f'http://127.0.0.1:{upstream.port}'})


@pytest.fixture
def ask(running):
    def ask(path, timeout_s=30):
        status, _, body = running.get(path, timeout_s=timeout_s)
        assert status == 200, running.log
        return body.decode()
    return ask


class Big:
    """/held: a million bytes, half of them when go() is called. /big: as much as the client takes, at most 50 MB.
    POST: the body again. All else: the path."""

    def __init__(self):
        self.held = self.open = 0
        self.released = None

    async def start(self):
        self.released = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self.serve, '127.0.0.1', 0)
        self.url = 'http://127.0.0.1:%d' % server.sockets[0].getsockname()[1]

    def go(self):
        self.loop.call_soon_threadsafe(self.released.set)

    async def serve(self, reader, writer):
        self.open += 1
        try:
            await self.answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def answer(self, reader, writer):
        while True:
            method, path, _ = (await reader.readuntil(b'\r\n\r\n')).split(b' ', 2)
            if path.startswith(b'/held'):
                await self.send(writer, bytes(500_000), 1_000_000)
                self.held += 1
                await self.released.wait()
                writer.write(bytes(500_000))
            elif path.startswith(b'/big'):
                await self.send(writer, bytes(1_000_000), 50_000_000)
                for _ in range(49):
                    await self.send(writer, bytes(1_000_000))
            else:
                body = path if method == b'GET' else await self.body(reader)
                await self.send(writer, body, len(body))

    async def send(self, writer, body, length=None):
        if length is not None:
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % length)
        writer.write(body)
        await writer.drain()

    async def body(self, reader):
        chunks = []
        while size := int(await reader.readuntil(b'\r\n'), 16):
            chunks.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b''.join(chunks)


@pytest.fixture
def big(loop_thread):
    peer = Big()
    loop_thread.run(peer.start())
    return peer


@pytest.fixture
def pages_with(loop_thread):
    """pages_with(bytes): the URL of a server that answers each connection with them."""
    def start(raw):
        async def serve(reader, writer):
            await reader.readuntil(b'\r\n\r\n')
            writer.write(raw)
            await writer.drain()
            writer.close()

        async def listen():
            return (await asyncio.start_server(serve, '127.0.0.1', 0)).sockets[0].getsockname()[1]
        return 'http://127.0.0.1:%d' % loop_thread.run(listen())
    return start


@pytest.fixture
def fetch(running):
    """fetch() with these arguments, in a request."""
    def fetch(url, **arguments):
        status, _, body = running.get('/ask', 'POST', json.dumps({'url': url, **arguments}))
        assert status == 200, running.log
        return json.loads(body)
    return fetch


@pytest.mark.smoke
def test_requests_that_fetch_overlap(running, upstream):
    assert_overlap(running, '/one', lambda n: f'/{n}')
    first = upstream.connections
    assert_overlap(running, '/one', lambda n: f'/{n}')
    assert first <= REQUESTS and upstream.connections <= first + REQUESTS // 2  # They are kept for the next.


@pytest.mark.smoke
def test_one_request_fetches_many_at_once(running):
    begun = time.monotonic()
    assert running.get('/many')[2].decode() == repr([f'/{n}' for n in range(20)])
    assert_far_below_serial(time.monotonic() - begun, 20)


def test_fetches_in_spawned_threads(ask):
    assert ask('/spawned') == repr([f'/{n}' for n in range(5)])


def test_a_response_has_what_was_sent(fetch, pages_with):
    response = fetch(pages_with(b'HTTP/1.1 201 Made it\r\nX-Name: \xe9\r\nx-name: two\r\nContent-Length: 4\r\n\r\nbody') + '/a?b#c')
    assert response['status'] == 201 and response['reason'] == 'Made it' and response['body'] == 'body'
    assert response['headers'] == [['X-Name', 'é'], ['x-name', 'two'], ['Content-Length', '4']]
    assert response['http_version'] == '1.1' and response['url'].endswith('/a?b#c')
    times = response['timings']
    assert 0 <= times['connect'] <= times['starttransfer'] <= times['total'] < 30


def test_an_error_status_is_an_error_with_the_response(fetch, pages_with):
    url = pages_with(b'HTTP/1.1 404 Gone\r\nContent-Length: 4\r\n\r\nbody')
    assert fetch(url) == {'error': 'HTTPError', 'text': 'HTTP 404: Gone', 'code': 404, 'curl_code': 0, 'status': 404}
    response = fetch(url, raise_error=False)
    assert response['status'] == 404 and response['body'] == 'body'


def test_what_takes_too_long_is_cancelled(ask, upstream):
    assert ask('/waits_too_long') == '[True, False]'
    wait_until(lambda: not upstream.open, 'the upstream to see both leave')


def test_where_nothing_can_wait_a_sentence_says_so(ask):
    in_loop, in_section, in_thread, async_in_thread = json.loads(ask('/refused'))
    assert in_loop == 'fetch() would stop the event loop that runs here: in async code use await'
    assert in_section.startswith('fetch() in a no_suspend() section')
    assert in_thread == 'fetch() waits for the event loop of a uWSGI worker: call it in a request or in spawn()'
    assert 'thread' in async_in_thread
    assert ask('/imported') == in_thread


# --- Streams --------------------------------------------------------------------------------------

def test_streams_are_read_while_others_run(server, big):
    running = server('fetches.py', environ={'UPSTREAM': big.url})
    with ThreadPoolExecutor() as pool:
        streams = [pool.submit(running.get, '/streamed?held') for _ in range(3)]
        wait_until(lambda: big.held == 3, 'the streams to begin')
        answers, _ = ask_at_once(running, '/one', 20)
        assert answers == [f'/{n}' for n in range(20)]
        big.go()
        assert [each.result()[2] for each in streams] == [b'200 1000000'] * 3


def test_leaving_a_stream_early_closes_its_connection(big, server):
    running = server('fetches.py', environ={'UPSTREAM': big.url})
    assert running.get('/left_early?big')[2] == b'True []'
    assert running.get('/held_by_thread?big')[2] == b'dropped'
    wait_until(lambda: not big.open, 'the upstream to see both leave')


def test_a_body_may_come_from_an_iterator_that_waits(server, big):
    running = server('fetches.py', environ={'UPSTREAM': big.url})
    begun = time.monotonic()
    answers, _ = ask_at_once(running, '/uploaded', 20)
    assert answers == ['01234'] * 20
    assert time.monotonic() - begun < 20 * 5 * 0.02
    assert running.get('/upload_fails')[2] == b'no more'


# --- The process ----------------------------------------------------------------------------------

def test_a_child_of_a_fork_leaves_the_parents_transfers_alone(server, big):
    running = server('fetches.py', environ={'UPSTREAM': big.url})
    for _ in range(2):
        status, _, body = running.get('/forks')
        assert (status, body.decode()) == (200, f'True {[f"/{n}" for n in range(5)]}'), running.log


def test_a_look_up_that_is_given_up_holds_nobody(server, slow_names):
    """The name server says nothing; the fetch gives up long before the resolver does."""
    running = server('fetches.py', launcher=slow_names)
    results, _ = running.get_all(['/beside?1'] + ['/lookup'] * 3)
    assert [r[2] for r in results[1:]] == [b'True'] * 3
    assert float(results[0][2]) < 0.5


def test_a_drain_waits_for_fetches(running, ask, upstream):
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, '/one?last')
        wait_until(lambda: upstream.open, 'the fetch to begin')
        running.drain()
        assert answer.result() == '/last'
