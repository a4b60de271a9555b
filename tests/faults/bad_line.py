"""A line to a server that does what lines do on a bad day: bytes dribble, ends are half-closed, connections reset."""
import asyncio
import collections
import contextlib
import socket
import struct

from seeds import seeded

FAULTS = ['none', 'dribble', 'reset', 'half-close', 'end']


class BadLine:
    """Run on the loop of the tests (upstreams.started)."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.random = seeded('bad line')
        self.done = collections.Counter()

    async def start(self):
        server = await asyncio.start_server(self.serve, '127.0.0.1', 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        fault = self.random.choice(FAULTS)
        self.done[fault] += 1
        target_reader, target_writer = await asyncio.open_connection('127.0.0.1', self.target_port)
        asking = asyncio.ensure_future(self.pass_on(reader, target_writer, None))
        with contextlib.suppress(ConnectionError):
            await self.pass_on(target_reader, writer, fault)
        asking.cancel()
        target_writer.close()
        writer.close()

    async def pass_on(self, reader, writer, fault):
        with contextlib.suppress(ConnectionError):
            # A fault comes within what a short answer has.
            left = self.random.randrange(200) if fault not in (None, 'none', 'dribble') else None
            while data := await reader.read(65536):
                if left is not None and len(data) >= left:
                    writer.write(data[:left])
                    return await getattr(self, fault.replace('-', '_'))(reader, writer)
                left = left and left - len(data)
                for piece in self.pieces(data) if fault == 'dribble' else [data]:
                    writer.write(piece)
                    await writer.drain()
                    if fault == 'dribble':
                        await asyncio.sleep(0.001)

    def pieces(self, data):
        while data:
            size = self.random.randint(1, 50) if len(data) < 2000 else len(data)
            yield data[:size]
            data = data[size:]

    async def reset(self, reader, writer):
        writer.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        writer.transport.abort()

    async def half_close(self, reader, writer):
        """Will send no more, and reads on."""
        writer.write_eof()
        with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
            await asyncio.wait_for(reader.read(1 << 20), 1)

    async def end(self, reader, writer):
        writer.close()
