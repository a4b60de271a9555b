"""Echo servers on an event loop, for loop.py. The client is echo.cc, in a process of its own; with TLS echo_tls.cc."""
import asyncio
import contextlib
import functools
import os
import resource
import socket
import ssl
import subprocess
import time

import servers

SIZE = 1024
BACKLOG = 1024

# --- Servers: each returns the socket that clients connect to, and what must be kept ------------

def accepting(loop, serve):
    """(a listener, the tasks): each connection has a task of serve(connection)."""
    async def accept():
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tasks.append(loop.create_task(serve(connection)))
    listener = socket.create_server(('127.0.0.1', 0), backlog=BACKLOG)
    listener.setblocking(False)
    tasks = [loop.create_task(accept())]
    return listener, tasks


async def sock(loop):
    async def serve(connection):
        with connection:
            while data := await loop.sock_recv(connection, 65536):
                await loop.sock_sendall(connection, data)
    return accepting(loop, serve)


async def sock_into(loop):
    """The same with sock_recv_into()."""
    async def serve(connection):
        room = memoryview(bytearray(65536))
        with connection:
            while size := await loop.sock_recv_into(connection, room):
                await loop.sock_sendall(connection, room[:size])
    return accepting(loop, serve)


async def streams(loop):
    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError):  # Ten tracebacks would cost as much as a thousand echoes.
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
    server = await asyncio.start_server(serve, '127.0.0.1', 0, backlog=BACKLOG)
    return server.sockets[0], [server]


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.room = memoryview(bytearray(65536))

    def get_buffer(self, size_hint):
        return self.room

    def buffer_updated(self, size):
        self.transport.write(self.room[:size])


class DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


async def protocol(loop, factory=Echo, **options):
    server = await loop.create_server(factory, '127.0.0.1', 0, backlog=BACKLOG, **options)
    return server.sockets[0], [server]


def buffered_protocol(loop):
    return protocol(loop, BufferedEcho)


def tls(loop):
    folder = servers.BUILD
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / 'cert.pem').exists():
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '3650', '-subj', '/CN=localhost',
                        '-keyout', folder / 'key.pem', '-out', folder / 'cert.pem'], check=True, stderr=subprocess.DEVNULL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / 'cert.pem', folder / 'key.pem')
    return protocol(loop, ssl=context)


async def datagrams(loop):
    transport, _ = await loop.create_datagram_endpoint(DatagramEcho, ('127.0.0.1', 0))
    return transport.get_extra_info('socket'), [transport]


# --- Measuring -----------------------------------------------------------------------------------

def client(serve, port, connections, count):
    numbers = [str(number) for number in (port, connections, count, SIZE)]
    if serve is tls:
        return [str(servers.build('echo_tls', '-lssl', '-lcrypto')), *numbers]
    return [str(servers.build('echo')), *numbers, *(['datagrams'] if serve is datagrams else [])]


async def run_client(loop, serve, connections, count):
    listener, serving = await serve(loop)
    command = client(serve, listener.getsockname()[1], connections, count)
    done = await asyncio.to_thread(subprocess.run, command, stdout=subprocess.PIPE, check=True)
    return float(done.stdout), serving


def cpu_s_of_children():
    """CPU time of those that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def echo_without_loop(connections, count):
    """(echoes a second, CPU µs of the server for one) where the server is bare.cc."""
    with subprocess.Popen([servers.build('bare'), 'echo'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        command = client(protocol, int(server.stdout.readline()), connections, count)
        figure = float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        before = cpu_s_of_children()
    return figure, (cpu_s_of_children() - before) / count * 1e6


def ping_pong_without_loop(count):
    done = subprocess.run([servers.build('bare'), 'ping-pong', str(count)], stdout=subprocess.PIPE, check=True)
    return float(done.stdout), None


def echo(serve, connections):
    """A measurement: echoes a second; `cpu_us` of it is what the server spent on one, and `without_loop` measures bare.cc."""
    def measure(loop, count):
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        cpu = time.process_time()
        figure, _ = loop.run_until_complete(run_client(loop, serve, connections, count))
        measure.cpu_us = (time.process_time() - cpu) / count * 1e6
        return figure
    if serve not in (tls, datagrams):
        measure.without_loop = functools.partial(echo_without_loop, connections)
    measure.__doc__ = f'{SIZE} bytes, {connections} connections; client in another process.'
    return measure
