"""HTTP servers for the tests of fetches. What they read and write is the test's, byte for byte; they run on
the client's own loop, so that each side can wait for the other."""
import asyncio
import contextlib
import email
import gc
import http.server
import sys
import threading

import pytest
import uwsgi_tornado

END_S = 30
# What lies between a sender and a receiver who does not read: sockets' buffers, libcurl's, our own.
ON_THE_WAY = 24 << 20


class Request:
    """One request as it came."""

    def __init__(self, head, body):
        self.line, _, fields = head.partition('\r\n')
        self.method, self.target, _ = self.line.split(' ')
        self.headers = email.message_from_string(fields)
        self.body = body


async def read_request(reader):
    head = (await reader.readuntil(b'\r\n\r\n')).decode('latin1')
    fields = email.message_from_string(head.partition('\r\n')[2])
    if fields['Transfer-Encoding'] == 'chunked':
        return Request(head, b''.join([chunk async for chunk in read_chunks(reader)]))
    return Request(head, await reader.readexactly(int(fields['Content-Length'] or 0)))


async def read_chunks(reader):
    while size := int(await reader.readuntil(b'\r\n'), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)


def answer(body=b'', status='200 OK', *headers):
    lines = ''.join(f'{header}\r\n' for header in headers)
    return f'HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n'.encode('latin1') + body


class Upstream:
    """Calls handler(upstream, reader, writer) for each connection, and closes it after."""

    def __init__(self, handler):
        self.handler = handler
        self.requests = []  # What it took, where it says so.
        self.accepted = 0
        self.open = 0
        self.changed = asyncio.Event()
        self.tasks = set()

    async def serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        self.accepted += 1
        self.count(+1)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.handler(self, reader, writer)
        finally:
            self.count(-1)
            writer.close()

    def count(self, more):
        self.open += more
        self.changed.set()

    async def until(self, condition):
        """Waits until condition() holds, looked at when connections come and go."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def take(self, reader):
        self.requests.append(await read_request(reader))
        return self.requests[-1]


@contextlib.asynccontextmanager
async def upstream(handler, **options):
    """One on a free port, as long as the block; its `url` ends without a slash."""
    served = Upstream(handler)
    server = await asyncio.start_server(served.serve, options.pop('host', '127.0.0.1'), 0, **options)
    served.port = server.sockets[0].getsockname()[1]
    served.url = f'http://127.0.0.1:{served.port}'
    try:
        yield served
    finally:
        server.close()
        for task in served.tasks:
            task.cancel()
        for result in await asyncio.gather(*served.tasks, return_exceptions=True):
            if isinstance(result, AssertionError):
                raise result
        if sys.version_info >= (3, 13):  # A server there asks of its connections to be closed before it is gone.
            server.abort_clients()
            await server.wait_closed()


def answering(*raw):
    """A server that answers the requests of each connection with these bytes, in turn, and closes it."""
    async def handler(served, reader, writer):
        for part in raw:
            await served.take(reader)
            writer.write(part)
            await writer.drain()
    return upstream(handler)


def silent():
    """A server that takes a request and says nothing."""
    async def handler(served, reader, writer):
        await served.take(reader)
        await reader.read()
    return upstream(handler)


@pytest.fixture
def run():
    """run(coroutine) on a loop of ours, closed in the end."""
    loop = uwsgi_tornado.EventLoop()
    yield lambda coroutine: loop.run_until_complete(asyncio.wait_for(coroutine, END_S))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.fixture(autouse=True)
def no_transfer_is_left():
    """Whatever became of the fetches of a test, nothing of them stays."""
    yield
    gc.collect()
    assert uwsgi_tornado._live()['transfers'] == 0


async def failure(awaitable):
    """The HTTPError that it raises."""
    with pytest.raises(uwsgi_tornado.HTTPError) as raised:
        await awaitable
    return raised.value


@pytest.fixture
def pages():
    """The URL of a server in a thread of its own, for clients that block: it has a page, and no /404."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'page'
            self.send_response(404 if self.path == '/404' else 200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    serving = http.server.HTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{serving.server_port}'
    serving.shutdown()
    thread.join()
    serving.server_close()
