"""Transports, servers, TLS, streams, sock_*, sendfile: asyncio's, on the loop."""
import asyncio
import os
import socket

import pytest

DATA = os.urandom(300_000)


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def send_and_receive(reader, writer, data=DATA):
    writer.write(data)
    received = await reader.readexactly(len(data))
    writer.close()
    await writer.wait_closed()
    return received


def test_streams_over_tcp(loop):
    async def main():
        server = await asyncio.start_server(echo, '127.0.0.1', 0)
        async with server:
            address = server.sockets[0].getsockname()
            clients = [send_and_receive(*await asyncio.open_connection(*address)) for _ in range(10)]
            return await asyncio.gather(*clients)
    assert loop.run_until_complete(main()) == [DATA] * 10


def test_streams_over_a_unix_socket(loop, tmp_path):
    async def main():
        async with await asyncio.start_unix_server(echo, tmp_path / 'socket'):
            return await send_and_receive(*await asyncio.open_unix_connection(tmp_path / 'socket'))
    assert loop.run_until_complete(main()) == DATA


def test_echo_over_tls(loop, server_tls, client_tls):
    async def main():
        server = await asyncio.start_server(echo, '127.0.0.1', 0, ssl=server_tls)
        async with server:
            port = server.sockets[0].getsockname()[1]
            streams = await asyncio.open_connection('127.0.0.1', port, ssl=client_tls, server_hostname='localhost')
            return await send_and_receive(*streams)
    assert loop.run_until_complete(main()) == DATA


def test_a_connection_becomes_tls(loop, server_tls, client_tls):
    async def serve(reader, writer):
        assert await reader.readline() == b'STARTTLS\n'
        writer.write(b'go ahead\n')
        await writer.drain()
        transport = await loop.start_tls(writer.transport, writer.transport.get_protocol(), server_tls, server_side=True)
        writer._transport = transport
        await echo(reader, writer)

    async def main():
        server = await asyncio.start_server(serve, '127.0.0.1', 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b'STARTTLS\n')
            assert await reader.readline() == b'go ahead\n'
            await writer.start_tls(client_tls, server_hostname='localhost')
            return await send_and_receive(reader, writer, DATA[:100_000])
    assert loop.run_until_complete(main()) == DATA[:100_000]


def test_a_wrong_certificate_is_refused(loop, server_tls):
    async def main():
        import ssl
        server = await asyncio.start_server(echo, '127.0.0.1', 0, ssl=server_tls)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection('127.0.0.1', port, ssl=True, server_hostname='localhost')
    loop.set_exception_handler(lambda *told: None)
    loop.run_until_complete(main())


def test_datagrams(loop):
    class Answer(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            self.transport.sendto(data[::-1], address)

    class Ask(asyncio.DatagramProtocol):
        def __init__(self):
            self.answers = asyncio.Queue()

        def datagram_received(self, data, address):
            self.answers.put_nowait(data)

    async def main():
        server, _ = await loop.create_datagram_endpoint(Answer, ('127.0.0.1', 0))
        client, asking = await loop.create_datagram_endpoint(Ask, remote_addr=server.get_extra_info('sockname'))
        for number in range(100):
            client.sendto(b'ask %d' % number)
            assert await asking.answers.get() == (b'ask %d' % number)[::-1]
        client.close()
        server.close()
        await asyncio.sleep(0)
    loop.run_until_complete(main())


def test_sock_calls(loop):
    async def serve(listener):
        connection, _ = await loop.sock_accept(listener)
        with connection:
            while data := await loop.sock_recv(connection, 65536):
                await loop.sock_sendall(connection, data)

    async def main():
        with socket.create_server(('127.0.0.1', 0)) as listener, socket.socket() as client:
            listener.setblocking(False)
            client.setblocking(False)
            server = loop.create_task(serve(listener))
            await loop.sock_connect(client, listener.getsockname())
            sending = loop.create_task(loop.sock_sendall(client, DATA))
            received, room = bytearray(), bytearray(65536)
            while len(received) < len(DATA):
                received += room[:await loop.sock_recv_into(client, room)]
            await sending
            client.shutdown(socket.SHUT_WR)
            await server
            return bytes(received)
    assert loop.run_until_complete(main()) == DATA


def test_a_sock_call_can_be_cancelled_and_the_socket_used_again(loop):
    async def main():
        a, b = socket.socketpair()
        with a, b:
            a.setblocking(False)
            b.setblocking(False)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(loop.sock_recv(a, 10), 0.01)
            await loop.sock_sendall(b, b'later')
            return await loop.sock_recv(a, 10)
    assert loop.run_until_complete(main()) == b'later'


@pytest.mark.parametrize('fallback', [False, True])
def test_sendfile(loop, tmp_path, fallback):
    (tmp_path / 'file').write_bytes(DATA)

    async def serve(reader, writer):
        with open(tmp_path / 'file', 'rb') as file:
            await loop.sendfile(writer.transport, file, fallback=fallback)
        writer.close()

    async def main():
        async with await asyncio.start_server(serve, '127.0.0.1', 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            data = await reader.read()
            writer.close()
            await writer.wait_closed()
            return data
    assert loop.run_until_complete(main()) == DATA


def test_a_slow_reader_holds_the_writer_back(loop):
    async def main():
        a, b = socket.socketpair()
        b.setblocking(False)
        _, writer = await asyncio.open_connection(sock=a)
        writer.write(b'x' * 10_000_000)
        drained = loop.create_task(writer.drain())
        await asyncio.sleep(0.01)
        assert not drained.done()
        received = 0
        while received < 10_000_000:
            received += len(await loop.sock_recv(b, 1 << 20))
        await drained
        writer.close()
        await writer.wait_closed()
        b.close()
    loop.run_until_complete(main())


def test_names_are_looked_up(loop):
    found = loop.run_until_complete(loop.getaddrinfo('127.0.0.1', 80, type=socket.SOCK_STREAM))
    assert found[0][4] == ('127.0.0.1', 80)


def test_pipes_have_transports(loop):
    async def main():
        reading, writing = os.pipe()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, 'rb'))
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(writing, 'wb'))
        transport.write(DATA[:50_000])
        transport.close()
        return await reader.read()
    assert loop.run_until_complete(main()) == DATA[:50_000]
