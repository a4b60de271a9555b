"""Peers that take their time, for the tests of clients: HTTP, HTTPS, a slow line, a mail server.

All run on one asyncio loop in a thread of the tests.
"""
import asyncio
import contextlib
import email
import http.server
import os
import ssl
import struct
import subprocess
import threading

import pytest
from aiosmtpd.smtp import SMTP

DELAY_S = 0.2
BACKLOG = 512


class LoopThread:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def stop(self):
        async def cancel_all():
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Upstream:
    """Answers GET /x with "/x" and POST with the body's size, DELAY_S later; keeps connections alive.

    /never... is never answered.
    """

    def __init__(self, context=None):
        self.context = context
        self.connections = 0  # Made so far.
        self.open = 0

    async def start(self):
        server = await asyncio.start_server(
            self.serve, '127.0.0.1', 0, ssl=self.context, backlog=BACKLOG)
        self.port = server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        self.connections += 1
        self.open += 1
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
                while True:
                    await self.answer(reader, writer)
        finally:
            self.open -= 1
            writer.close()

    async def answer(self, reader, writer):
        head = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1')
        request, _, fields = head.partition('\r\n')
        method, path, _ = request.split()
        size = int(email.message_from_string(fields)['Content-Length'] or 0)
        await reader.readexactly(size)
        if path.startswith('/never'):
            await reader.read()
            raise ConnectionError('the client has left')
        await asyncio.sleep(DELAY_S)
        body = path.encode() if method == 'GET' else str(size).encode()
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n' % len(body))
        # The body comes apart from the head: clients wait twice.
        await writer.drain()
        writer.write(body)
        await writer.drain()


class SlowLine:
    """Passes connections on to a server, whose answers arrive DELAY_S late."""

    def __init__(self, target_port):
        self.target_port = target_port

    async def start(self):
        server = await asyncio.start_server(self.serve, '127.0.0.1', 0, backlog=BACKLOG)
        self.port = server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        target_reader, target_writer = await asyncio.open_connection('127.0.0.1', self.target_port)
        await asyncio.gather(self.pass_on(reader, target_writer, 0),
                             self.pass_on(target_reader, writer, DELAY_S))

    async def pass_on(self, reader, writer, delay_s):
        with contextlib.suppress(ConnectionError):
            while True:
                data = await reader.read(65536)
                if not data:
                    break
                await asyncio.sleep(delay_s)
                writer.write(data)
                await writer.drain()
        writer.close()


class HeldLine(SlowLine):
    """The same, whose answers arrive once it is released."""

    async def start(self):
        self.held = 0  # Connections with an answer on its way.
        self.released = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        await super().start()

    def release(self):
        self.loop.call_soon_threadsafe(self.released.set)

    async def pass_on(self, reader, writer, delay_s):
        if delay_s == 0:
            return await super().pass_on(reader, writer, 0)
        data = await reader.read(65536)
        self.held += 1
        await self.released.wait()
        writer.write(data)
        await super().pass_on(reader, writer, 0)


class MailServer:
    """A real SMTP server that keeps what it gets, and thinks DELAY_S about each mail."""

    def __init__(self):
        self.mails = []

    async def start(self):
        loop = asyncio.get_running_loop()
        # Named, or it would ask for this machine's name at each connection, on the loop.
        server = await loop.create_server(lambda: SMTP(self, hostname='mail.example.org', loop=loop), '127.0.0.1', 0,
                                          backlog=BACKLOG)
        self.port = server.sockets[0].getsockname()[1]

    async def handle_DATA(self, server, session, envelope):
        await asyncio.sleep(DELAY_S)
        self.mails.append(email.message_from_bytes(envelope.content))
        return '250 taken'


class NameServer(asyncio.DatagramProtocol):
    """Answers that <n>.slow.test is 127.0.0.<n>, DELAY_S later."""

    address = '127.0.0.153', 53  # resolv.conf names no port.

    async def start(self):
        self.transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, local_addr=self.address)

    def datagram_received(self, query, sender):
        asyncio.get_running_loop().call_later(DELAY_S, self.transport.sendto, self.answer(query), sender)

    def answer(self, query):
        question_end = query.index(0, 12) + 5
        question = query[12:question_end]
        wants_ipv4 = question[-4:-2] == b'\0\1'
        head = query[:2] + b'\x81\x80' + struct.pack('>4H', 1, wants_ipv4, 0, 0)
        if not wants_ipv4:
            return head + question
        host = int(question[1:1 + question[0]])
        # The name of the question, type A, class IN, 0 s to live, four bytes.
        return head + question + b'\xc0\x0c\0\1\0\1' + struct.pack('>IH', 0, 4) + bytes([127, 0, 0, host])


@pytest.fixture(scope='session')
def loop_thread():
    thread = LoopThread()
    yield thread
    thread.stop()


@pytest.fixture(scope='session')
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1: (certificate file, key file)."""
    folder = tmp_path_factory.mktemp('tls')
    paths = str(folder / 'certificate.pem'), str(folder / 'key.pem')
    subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
         '-days', '2', '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost',
         '-out', paths[0], '-keyout', paths[1]], check=True, capture_output=True)
    return paths


def started(loop_thread, peer):
    loop_thread.run(peer.start())
    return peer


@pytest.fixture
def upstream(loop_thread):
    return started(loop_thread, Upstream())


@pytest.fixture
def tls_upstream(loop_thread, certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return started(loop_thread, Upstream(context))


@pytest.fixture
def slow_memcached(loop_thread, memcached):
    return started(loop_thread, SlowLine(memcached.port))


@pytest.fixture
def held_line(loop_thread):
    """Makes lines to a port: held_line(port)."""
    return lambda port: started(loop_thread, HeldLine(port))


@pytest.fixture
def slow_names(loop_thread, tmp_path):
    """A launcher of commands that ask a slow name server."""
    if os.geteuid() != 0:
        pytest.skip('only root can have a resolv.conf and a port 53 of its own')
    refusal = subprocess.run(['unshare', '--mount', 'true'], stderr=subprocess.PIPE, text=True).stderr
    if refusal:  # Below a chroot, for one.
        pytest.skip(refusal)
    name_server = started(loop_thread, NameServer())
    resolv_conf = tmp_path / 'resolv.conf'
    resolv_conf.write_text(f'nameserver {name_server.address[0]}\n')
    yield ['unshare', '--mount', 'sh', '-c', f'mount --bind {resolv_conf} /etc/resolv.conf && exec "$@"', 'sh']
    loop_thread.loop.call_soon_threadsafe(name_server.transport.close)


@pytest.fixture
def mail_server(loop_thread):
    return started(loop_thread, MailServer())


@pytest.fixture
def pages():
    """Answers /x with x, and /404 with that."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.path.strip('/').encode()
            self.send_response(404 if body == b'404' else 200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.rfile.read(int(self.headers['Content-Length']))
            self.do_GET()

        def log_message(self, *args):
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 200
    serving = Server(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{serving.server_port}'
    serving.shutdown()
    thread.join()
    serving.server_close()
