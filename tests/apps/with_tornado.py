"""Real Tornado in the workers of a WSGI application: servers bound after the fork, clients in requests."""
import asyncio
import datetime
import os
import socket
import time

import uwsgi
from tornado import gen, locks, process, queues, template, web, websocket
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.tcpclient import TCPClient
from tornado.tcpserver import TCPServer
from uwsgidecorators import postfork
from uwsgi_tornado import await_, gather_

UPSTREAM = os.environ['UPSTREAM']
io_loop = IOLoop.current()
beats = 0


def beat():
    global beats
    beats += 1


heart = PeriodicCallback(beat, 10)
heart.start()  # At import: each worker has its own.


# --- Servers -------------------------------------------------------------------------------------

class Page(web.RequestHandler):
    def get(self, name):
        self.render('page.html', name=name, worker=uwsgi.worker_id())


class Sum(web.RequestHandler):
    async def post(self):
        numbers = web.escape.json_decode(self.request.body)
        page = await AsyncHTTPClient().fetch(UPSTREAM + '/sum')
        self.write({'sum': sum(numbers), 'page': page.body.decode(), 'worker': uwsgi.worker_id()})


class Slow(web.RequestHandler):
    async def get(self):
        await gen.sleep(0.2)
        self.write('slow')


class Fails(web.RequestHandler):
    def get(self):
        raise LookupError('in a handler')


class Chat(websocket.WebSocketHandler):
    clients = set()

    def open(self):
        self.clients.add(self)
        self.write_message('welcome')

    async def on_message(self, message):
        await gen.sleep(0.01)
        await self.write_message(f'echo {message}' if isinstance(message, str) else message[::-1], isinstance(message, bytes))

    def on_close(self):
        self.clients.discard(self)


async def broadcast():
    """A fetch every now and then, for everyone."""
    if Chat.clients:
        page = await AsyncHTTPClient().fetch(UPSTREAM + '/news')
        for client in list(Chat.clients):
            client.write_message(page.body.decode())


class Lines(TCPServer):
    async def handle_stream(self, stream, address):
        try:
            while True:
                line = await stream.read_until(b'\n')
                await stream.write(line.upper())
                if line == b'bye\n':
                    stream.close()
        except StreamClosedError:
            pass


@postfork
def listen():
    loader = template.DictLoader({'page.html': '<p>{% for n in range(2) %}{{ name }}{{ n }} {% end %}{{ worker }}</p>'})
    site = web.Application([(r'/page/(.*)', Page), (r'/sum', Sum), (r'/slow', Slow), (r'/fails', Fails), (r'/chat', Chat)],
                           template_loader=loader)
    site.listen(int(os.environ['PORT']) + uwsgi.worker_id(), '127.0.0.1')
    PeriodicCallback(broadcast, 100).start()
    lines = Lines()
    sockets = bind_sockets(0, '127.0.0.1')
    lines.add_sockets(sockets)
    Lines.port = sockets[0].getsockname()[1]


if uwsgi.worker_id():  # --lazy-apps: the fork, and uWSGI's hook of it, were before the import.
    listen()


# --- Requests --------------------------------------------------------------------------------------

def identity(query):
    same = IOLoop.current() is io_loop is IOLoop.instance() is await_(current())
    before = beats
    await_(gen.sleep(0.05))
    return f'{same} {io_loop.asyncio_loop is asyncio.get_event_loop()} {beats > before} {heart.is_running()}'


async def current():
    return IOLoop.current()


def fetch(query):
    return await_(AsyncHTTPClient(max_clients=100).fetch(f'{UPSTREAM}/{query}')).body.decode()


def fetch_errors(query):
    said = []
    for url in (UPSTREAM + '/never', 'http://127.0.0.1:1/'):
        try:
            await_(AsyncHTTPClient().fetch(url, request_timeout=0.2))
        except (HTTPClientError, OSError) as error:
            said.append(f'{type(error).__name__} {getattr(error, "code", "")}')
    return ', '.join(said)


@gen.coroutine
def by_yielding(name):
    yield gen.sleep(0.01)
    pages = yield [AsyncHTTPClient().fetch(UPSTREAM + f'/{name}{n}') for n in range(2)]
    raise gen.Return([page.body.decode() for page in pages])


async def by_awaiting(name):
    page = await AsyncHTTPClient().fetch(UPSTREAM + '/' + name)
    return page.body.decode()


def coroutines(query):
    both = await_(gen.multi({'yielding': by_yielding('y'), 'awaiting': by_awaiting('a')}))
    try:
        await_(gen.with_timeout(datetime.timedelta(seconds=0.02), gen.sleep(10)))
    except gen.TimeoutError:
        return both, io_loop.asyncio_loop.run_until_complete(by_awaiting('b'))


def queue_and_locks(query):
    queue, lock, condition, inside, most = queues.Queue(maxsize=2), locks.Lock(), locks.Condition(), [], []

    async def consume():
        got = []
        async for item in queue:
            got.append(item)
            queue.task_done()
            if item == 9:
                return got

    async def produce():
        for item in range(10):
            await queue.put(item)
        await queue.join()

    async def exclusive():
        async with lock:
            inside.append(1)
            await gen.sleep(0.005)
            most.append(len(inside))
            inside.pop()

    waiting = condition.wait(timeout=datetime.timedelta(seconds=10))
    got, _, *_ = gather_(consume(), produce(), *(exclusive() for _ in range(5)))
    condition.notify_all()
    return got, max(most), await_(waiting)


def streams(query):
    async def talk():
        stream = await TCPClient().connect('127.0.0.1', Lines.port)
        await stream.write(b'one; two 22 three\nbytes')
        seen = [await stream.read_until_regex(rb'[0-9]+'), await stream.read_until(b'\n')]
        await stream.write(b' again\n')
        seen += [await stream.read_bytes(5), await stream.read_bytes(100, partial=True)]
        await stream.write(b'bye\n')
        return seen + [await stream.read_until_close(), stream.closed()]
    return await_(talk())


def raw_stream(query):
    """An IOStream made and driven by the request itself, call by call."""
    stream = IOStream(socket.socket())
    await_(stream.connect(('127.0.0.1', Lines.port)))
    await_(stream.write(b'hello ' + query.encode() + b'\n'))
    answer = await_(stream.read_until(b'\n'))
    stream.close()
    return answer.decode()


def closes(query):
    """A peer that goes a while after its last byte."""
    mine, peer = socket.socketpair()
    stream, noticed = IOStream(mine), io_loop.asyncio_loop.create_future()
    stream.set_close_callback(lambda: noticed.set_result('closed'))
    rest = stream.read_until_close()
    peer.send(b'rest')
    await_(gen.sleep(0.02))
    peer.close()
    return await_(rest, timeout=10), await_(noticed, timeout=10)


def subprocess(query):
    script = 'import sys; sys.stdout.write("o" * 100000); sys.stderr.write("error"); sys.exit(3)'

    async def run():
        pipe, ended = process.Subprocess.STREAM, asyncio.get_running_loop().create_future()
        child = process.Subprocess(['/usr/bin/env', 'python3', '-c', script], stdout=pipe, stderr=pipe)
        child.set_exit_callback(ended.set_result)
        out, err = await gen.multi([child.stdout.read_until_close(), child.stderr.read_until_close()])
        return len(out), err, await ended

    return await_(run()), await_(waits_for_exit())


async def waits_for_exit():
    return await process.Subprocess(['sh', '-c', 'exit 4']).wait_for_exit(raise_error=False)


def executor(query):
    return await_(io_loop.run_in_executor(None, str, 'from a thread'))


def handlers(query):
    mine, peer = socket.socketpair()
    mine.setblocking(False)
    events, came = [], io_loop.asyncio_loop.create_future()

    def handle(sock, event):
        events.append(event)
        if event & IOLoop.WRITE:
            sock.send(b'written')
            io_loop.update_handler(sock, IOLoop.READ)
        elif event & IOLoop.READ:
            io_loop.remove_handler(sock)
            came.set_result(sock.recv(100))

    io_loop.add_handler(mine, handle, IOLoop.WRITE)
    try:
        io_loop.add_handler(mine, handle, IOLoop.READ)
    except ValueError as error:
        twice = 'twice' in str(error)
    said = peer.recv(100)
    peer.send(b'answer')
    result = said, await_(came, timeout=10), [IOLoop.WRITE, IOLoop.READ] == events, twice
    peer.send(b'nobody listens')
    await_(gen.sleep(0.02))
    return *result, len(events)


def timeouts(query):
    order, done = [], io_loop.asyncio_loop.create_future()
    io_loop.add_timeout(io_loop.time() + 0.03, order.append, 'deadline')
    io_loop.add_timeout(datetime.timedelta(seconds=0.06), order.append, 'timedelta')
    io_loop.call_at(io_loop.time() + 0.09, order.append, 'call_at')
    io_loop.call_later(0.12, done.set_result, None)
    for removed in (io_loop.call_later(0.01, order.append, 'removed'), io_loop.add_timeout(time.time() + 0.01, order.append, 'too')):
        io_loop.remove_timeout(removed)
    io_loop.add_callback(order.append, 'callback')
    io_loop.spawn_callback(order.append, 'spawned')
    io_loop.add_future(done, lambda future: order.append('future'))
    await_(done)
    await_(gen.sleep(0))
    return order


def application(environ, start_response):
    answer = globals()[environ['PATH_INFO'].strip('/')](environ['QUERY_STRING'])
    body = (answer if isinstance(answer, str) else repr(answer)).encode()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
