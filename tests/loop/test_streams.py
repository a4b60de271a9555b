"""asyncio's streams on transports that feed them in C++. Its own transports are the reference."""
import asyncio
import contextvars
import gc
import os
import socket
from unittest import mock

import pytest

DATA = os.urandom(2_000_000)


async def connected(loop, reader_type=asyncio.StreamReader, protocol_type=asyncio.StreamReaderProtocol, limit=1 << 16):
    """(reader, writer, the other end, which does not block)."""
    end, peer = socket.socketpair()
    peer.setblocking(False)
    reader = reader_type(limit=limit, loop=loop)
    transport, protocol = await loop.create_connection(lambda: protocol_type(reader, loop=loop), sock=end)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop), peer


async def ended(writer, peer):
    writer.close()
    peer.close()
    await writer.wait_closed()
    await asyncio.sleep(0)


@pytest.fixture(params=(False, True), ids=('plain', 'debug'))
def loop(new_loop, request):
    loop = new_loop()
    loop.set_debug(request.param)
    loop.slow_callback_duration = 100
    return loop


def test_all_that_is_sent_is_read(loop):
    async def main():
        reader, writer, peer = await connected(loop)

        async def send():
            await loop.sock_sendall(peer, DATA)
            peer.shutdown(socket.SHUT_WR)
        sending = loop.create_task(send())
        assert await reader.readexactly(10) == DATA[:10]
        assert await reader.read() == DATA[10:] and reader.at_eof()
        await sending
        await ended(writer, peer)
    loop.run_until_complete(main())


def test_lines(loop):
    async def main():
        reader, writer, peer = await connected(loop)
        reading = loop.create_task(reader.readline())
        for part in (b'a li', b'ne\nan', b'other\nlast'):
            await asyncio.sleep(0.001)
            peer.send(part)
        assert await reading == b'a line\n' and await reader.readuntil(b'er') == b'another'
        peer.shutdown(socket.SHUT_WR)
        assert [line async for line in reader] == [b'\n', b'last']
        await ended(writer, peer)
    loop.run_until_complete(main())


def test_a_reader_that_has_enough_pauses_its_transport(loop):
    async def main():
        reader, writer, peer = await connected(loop, limit=1000)
        sent = 0
        for _ in range(20):
            try:
                sent += peer.send(DATA[sent:sent + 500])
            except BlockingIOError:
                pass
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert not writer.transport.is_reading()
        assert 2000 < len(reader._buffer) <= 3000
        received = b''
        while len(received) < sent:
            received += await reader.read(700)
        assert received == DATA[:sent] and writer.transport.is_reading()
        await ended(writer, peer)
    loop.run_until_complete(main())


def test_what_comes_after_a_pause_waits(loop):
    async def main():
        reader, writer, peer = await connected(loop)
        writer.transport.pause_reading()
        peer.send(b'data')
        reading = loop.create_task(reader.read(100))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not reading.done()
        writer.transport.resume_reading()
        assert await reading == b'data'
        await ended(writer, peer)
    loop.run_until_complete(main())


def test_who_was_cancelled_leaves_the_data(loop):
    async def main():
        reader, writer, peer = await connected(loop)
        reading = loop.create_task(reader.read(100))
        await asyncio.sleep(0)
        peer.send(b'data')
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await reader.read(100) == b'data'
        await ended(writer, peer)
    loop.run_until_complete(main())


def test_a_reset_is_an_error_of_the_reader(loop):
    async def main():
        with socket.create_server(('127.0.0.1', 0)) as listener:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            peer, _ = listener.accept()
            reading = loop.create_task(reader.read(100))
            await asyncio.sleep(0)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
            peer.close()
            with pytest.raises(ConnectionResetError):
                await reading
            assert writer.transport.is_closing()
            with pytest.raises(ConnectionResetError):
                await writer.wait_closed()
            await asyncio.sleep(0)
    loop.run_until_complete(main())
    gc.collect()


def test_a_buffer_that_cannot_grow_ends_the_connection(loop, errors):
    async def main():
        reader, writer, peer = await connected(loop)
        view = memoryview(reader._buffer)
        peer.send(b'data')
        while not errors:
            await asyncio.sleep(0)
        view.release()
        assert [(told['message'], type(told['exception'])) for told in errors] == [
            ('Fatal error: protocol.data_received() call failed.', BufferError)]
        with pytest.raises(BufferError):
            await reader.read(100)
        assert writer.transport.is_closing()
        with pytest.raises(BufferError):
            await writer.wait_closed()
        peer.close()
        await asyncio.sleep(0)
    loop.run_until_complete(main())
    errors.clear()
    gc.collect()


def test_data_for_a_reader_that_is_gone_is_dropped(loop):
    async def main():
        end, peer = socket.socketpair()
        reader = asyncio.StreamReader(loop=loop)  # A writer, too, would close the transport, as it goes.
        transport, _ = await loop.create_connection(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), sock=end)
        del reader
        gc.collect()
        peer.send(b'data')
        for _ in range(3):
            await asyncio.sleep(0)
        assert not transport.is_closing()
        transport.abort()
        peer.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    loop.run_until_complete(main())


def test_who_pauses_before_the_data_come_gets_none(loop):
    """What was to be called before the event comes before it: start_tls() counts on that."""
    async def main():
        reader, writer, peer = await connected(loop)
        await asyncio.sleep(0)
        peer.send(b'for another protocol')
        loop.call_soon(writer.transport.pause_reading)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not reader._buffer
        writer.transport.resume_reading()
        assert await asyncio.wait_for(reader.read(100), 5) == b'for another protocol'
        await ended(writer, peer)
    loop.run_until_complete(main())


# --- Code of others is called ------------------------------------------------------------------

def test_methods_of_another_reader_are_called(loop):
    class Counting(asyncio.StreamReader):
        fed = 0

        def feed_data(self, data):
            self.fed += len(data)
            super().feed_data(data)

    async def main():
        reader, writer, peer = await connected(loop, Counting)
        peer.send(b'data')
        assert await reader.read(100) == b'data' and reader.fed == 4
        await ended(writer, peer)
    loop.run_until_complete(main())


def test_methods_of_another_protocol_are_called(loop):
    class Upper(asyncio.StreamReaderProtocol):
        def data_received(self, data):
            super().data_received(data.upper())

    async def main():
        reader, writer, peer = await connected(loop, protocol_type=Upper)
        peer.send(b'data')
        assert await reader.read(100) == b'DATA'
        await ended(writer, peer)
    loop.run_until_complete(main())


def recorded(of):
    """The method of that class that takes data: its name, one to put in its place, and what that has been given."""
    name = 'feed_data' if of is asyncio.StreamReader else 'data_received'
    original, seen = getattr(of, name), []

    def replacement(self, data):
        seen.append(data)
        original(self, data)
    return name, replacement, seen


@pytest.mark.parametrize('of', (asyncio.StreamReader, asyncio.StreamReaderProtocol))
def test_methods_that_somebody_has_replaced_are_called(loop, of):
    name, replacement, seen = recorded(of)

    async def main():
        with mock.patch.object(of, name, replacement):
            reader, writer, peer = await connected(loop)
            peer.send(b'data')
            assert await reader.read(100) == b'data' and seen == [b'data']
        await ended(writer, peer)
    loop.run_until_complete(main())


@pytest.mark.parametrize('of', (asyncio.StreamReader, asyncio.StreamReaderProtocol))
def test_methods_that_somebody_replaces_later_are_called(loop, of):
    name, replacement, seen = recorded(of)

    async def main():
        reader, writer, peer = await connected(loop)
        peer.send(b'before')
        assert await reader.read(100) == b'before'
        with mock.patch.object(of, name, replacement):
            peer.send(b'data')
            assert await reader.read(100) == b'data' and seen == [b'data']
        peer.send(b'after')
        assert await reader.read(100) == b'after' and seen == [b'data']
        of_one = reader if of is asyncio.StreamReader else writer.transport.get_protocol()
        with mock.patch.object(of_one, name, lambda data: replacement(of_one, data)):
            peer.send(b'of one')
            assert await reader.read(100) == b'of one' and seen == [b'data', b'of one']
        await ended(writer, peer)
    loop.run_until_complete(main())


def test_what_somebody_has_put_in_a_method_s_place_is_called_as_it_is(loop, errors):
    """Also where that is the function of the class, which is then called without its object."""
    async def main():
        reader, writer, peer = await connected(loop)
        reader.feed_data = asyncio.StreamReader.feed_data
        peer.send(b'data')
        with pytest.raises(TypeError):
            await reader.read(100)
        assert [told['message'] for told in errors] == ['Fatal error: protocol.data_received() call failed.']
        with pytest.raises(TypeError):
            await writer.wait_closed()
        peer.close()
        await asyncio.sleep(0)
    loop.run_until_complete(main())
    errors.clear()
    gc.collect()


def test_methods_of_another_reader_have_the_context_of_the_connection(loop):
    of_whom = contextvars.ContextVar('of_whom', default='nobody')
    seen = []

    class Asking(asyncio.StreamReader):
        def feed_data(self, data):
            seen.append(of_whom.get())
            super().feed_data(data)

    async def main():
        of_whom.set('the connection')
        reader, writer, peer = await connected(loop, Asking)
        of_whom.set('somebody else')
        peer.send(b'data')
        assert await reader.read(100) == b'data' and seen == ['the connection']
        await ended(writer, peer)
    loop.run_until_complete(main())


def test_another_protocol_takes_the_transport_over(loop):
    class Recorder(asyncio.Protocol):
        received = b''

        def data_received(self, data):
            self.received += data

    async def main():
        reader, writer, peer = await connected(loop)
        peer.send(b'first')
        assert await reader.read(100) == b'first'
        latter, former = Recorder(), writer.transport.get_protocol()
        writer.transport.set_protocol(latter)
        peer.send(b'second')
        while latter.received != b'second':
            await asyncio.sleep(0)
        writer.transport.set_protocol(former)
        peer.send(b'third')
        assert await reader.read(100) == b'third' and latter.received == b'second'
        await ended(writer, peer)
    loop.run_until_complete(main())


def test_the_loop_s_future_is_of_another_kind(loop_type):
    """create_future() of a derived loop is respected, and so is its call_soon()."""
    class Loop(loop_type):
        futures = calls = 0

        def create_future(self):
            self.futures += 1
            return super().create_future()

        def call_soon(self, *args, **options):
            self.calls += 1
            return super().call_soon(*args, **options)
    loop = Loop()

    async def main():
        reader, writer, peer = await connected(loop)
        reading = loop.create_task(reader.read(100))
        await asyncio.sleep(0)
        futures, calls = loop.futures, loop.calls
        peer.send(b'data')
        assert await reading == b'data' and loop.calls > calls
        waiting = loop.create_task(loop.sock_recv(peer, 100))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert loop.futures > futures
        writer.write(b'back')
        assert await waiting == b'back'
        await ended(writer, peer)
    loop.run_until_complete(main())
    loop.close()
