"""loop.sock_recv() and the like. asyncio's are the reference."""
import asyncio
import collections.abc
import gc
import os
import socket
import warnings

import pytest
import uwsgi_tornado

DATA = os.urandom(3_000_000)


async def waiting(loop, coroutine):
    """A task that waits in it."""
    task = loop.create_task(coroutine)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task


# --- What they do ------------------------------------------------------------------------------

def test_what_is_there_comes_without_a_turn(loop, pair):
    async def main():
        turned = []
        loop.call_soon(turned.append, 1)
        pair[1].send(b'hello')
        assert await loop.sock_recv(pair[0], 3) == b'hel'
        room = bytearray(8)
        assert await loop.sock_recv_into(pair[0], room) == 2 and room == b'lo\0\0\0\0\0\0'
        assert await loop.sock_sendall(pair[0], b'back') is None
        assert not turned and pair[1].recv(100) == b'back'
    loop.run_until_complete(main())


def test_what_is_not_there_is_waited_for(loop, pair):
    async def main():
        for number in range(3):
            task = await waiting(loop, loop.sock_recv(pair[0], 100))
            pair[1].send(b'%d' % number)
            assert await task == b'%d' % number
        room = bytearray(8)
        task = await waiting(loop, loop.sock_recv_into(pair[0], memoryview(room)[2:]))
        pair[1].send(b'into')
        assert await task == 4 and room == b'\0\0into\0\0'
        task = await waiting(loop, loop.sock_recv(pair[0], 100))
        pair[1].close()
        assert await task == b'' == await loop.sock_recv(pair[0], 100)
    loop.run_until_complete(main())


@pytest.mark.parametrize('size', (0, 1, 65536, 65537, 200_000))
def test_how_much_comes_at_most(loop, pair, size):
    async def main():
        sending = loop.create_task(loop.sock_sendall(pair[1], DATA))
        await asyncio.sleep(0)
        got = await loop.sock_recv(pair[0], size)
        assert got == DATA[:len(got)] and (len(got) == size or size == 200_000 and got)
        sending.cancel()
    loop.run_until_complete(main())


def test_no_bytes_at_all_are_there_at_once(loop, pair):
    """As socket.recv(0), which asks nobody."""
    async def main():
        assert await asyncio.wait_for(loop.sock_recv(pair[0], 0), 5) == b''
        assert await asyncio.wait_for(loop.sock_recv_into(pair[0], bytearray()), 5) == 0
        assert await asyncio.wait_for(loop.sock_sendall(pair[0], b''), 5) is None
    loop.run_until_complete(main())


@pytest.mark.parametrize('kind', (bytes, bytearray, memoryview))
def test_everything_arrives(loop, pair, kind):
    async def receive():
        received = b''
        while len(received) < len(DATA):
            received += await loop.sock_recv(pair[0], 100_000)
        return received

    async def main():
        return await asyncio.gather(loop.sock_sendall(pair[1], kind(DATA)), receive())
    assert loop.run_until_complete(main()) == [None, DATA]


def test_data_cannot_change_its_size_while_it_waits_to_be_sent(loop, pair):
    async def main():
        data = bytearray(DATA)
        task = await waiting(loop, loop.sock_sendall(pair[1], data))
        with pytest.raises(BufferError):
            data.append(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        gc.collect()
        data.append(1)
    loop.run_until_complete(main())


def test_a_buffer_may_change_its_size_while_it_waits_to_be_filled(loop, pair):
    async def main():
        room = bytearray(2)
        task = await waiting(loop, loop.sock_recv_into(pair[0], room))
        room.extend(b'....')
        pair[1].send(b'hello')
        assert await task == 5 and room == b'hello.'
    loop.run_until_complete(main())


@pytest.mark.parametrize('family', (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX))
def test_connections(loop, tmp_path, family):
    async def main():
        with socket.socket(family) as listener, socket.socket(family) as client:
            listener.bind(str(tmp_path / 'socket') if family == socket.AF_UNIX else ('::1' if family == socket.AF_INET6 else '127.0.0.1', 0))
            listener.listen()
            for end in (listener, client):
                end.setblocking(False)
            task = await waiting(loop, loop.sock_accept(listener))
            assert await loop.sock_connect(client, listener.getsockname()[:2] if family != socket.AF_UNIX else listener.getsockname()) is None
            connection, address = await task
            with connection:
                assert connection.getblocking() is False and address == client.getsockname()
                await loop.sock_sendall(client, b'hello')
                assert await loop.sock_recv(connection, 100) == b'hello'
    loop.run_until_complete(main())


def test_a_name_is_resolved(loop):
    async def main():
        with socket.create_server(('127.0.0.1', 0)) as listener, socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ('localhost', listener.getsockname()[1]))
            assert client.getpeername() == listener.getsockname()
    loop.run_until_complete(main())


def test_they_are_coroutines(loop, pair):
    async def main():
        operation = loop.sock_recv(pair[0], 100)
        assert asyncio.iscoroutine(operation) and isinstance(operation, collections.abc.Coroutine)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(operation, 0.01)
        with pytest.raises(RuntimeError, match='cannot reuse already awaited coroutine'):
            await operation
        closed = loop.sock_recv(pair[0], 100)
        closed.close()
        with pytest.raises(RuntimeError, match='cannot reuse already awaited coroutine'):
            await closed
        thrown = loop.sock_recv(pair[0], 100)
        with pytest.raises(LookupError, match='thrown'):
            thrown.throw(LookupError('thrown'))
        pair[1].send(b'data')
        assert await loop.sock_recv(sock=pair[0], n=100) == b'data'
    loop.run_until_complete(main())


def test_nothing_is_done_before_it_is_awaited(loop, pair):
    pair[1].send(b'data')
    with pytest.warns(RuntimeWarning, match="sock_recv.* was never awaited"):
        loop.sock_recv(pair[0], 100)
        gc.collect()
    assert pair[0].recv(100) == b'data'


# --- The end of a wait -------------------------------------------------------------------------

def test_who_is_cancelled_takes_nothing(loop, pair):
    async def main():
        task = await waiting(loop, loop.sock_recv(pair[0], 100))
        pair[1].send(b'data')
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await loop.sock_recv(pair[0], 100) == b'data'
        await asyncio.sleep(0)
        assert not loop.remove_reader(pair[0])
    loop.run_until_complete(main())


def test_who_is_to_be_cancelled_when_the_data_come_takes_nothing(loop, pair):
    """What was to be called before the event comes before it."""
    async def main():
        task = await waiting(loop, loop.sock_recv(pair[0], 100))
        pair[1].send(b'data')
        loop.call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(loop.sock_recv(pair[0], 100), 5) == b'data'
    loop.run_until_complete(main())


def test_a_reader_that_comes_first_cancels_it(loop, pair):
    """Events are handled in the kernel's order, also where one is a reader's and the other an operation's."""
    async def main():
        first = socket.socketpair()
        for end in first:
            end.setblocking(False)

        def on_first():
            first[0].recv(100)
            task.cancel()
        loop.add_reader(first[0], on_first)
        task = await waiting(loop, loop.sock_recv(pair[0], 100))
        first[1].send(b'data')
        pair[1].send(b'data')
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(loop.sock_recv(pair[0], 100), 5) == b'data'
        loop.remove_reader(first[0])
        for end in first:
            end.close()
    loop.run_until_complete(main())


def test_the_later_of_two_gets_the_data(loop, pair):
    """As with add_reader(): there is one for a descriptor. The end of the former is not that of the latter."""
    async def main():
        former = await waiting(loop, loop.sock_recv(pair[0], 100))
        latter = await waiting(loop, loop.sock_recv(pair[0], 100))
        former.cancel()
        with pytest.raises(asyncio.CancelledError):
            await former
        pair[1].send(b'data')
        assert await latter == b'data'
    loop.run_until_complete(main())


def test_a_reader_takes_the_place_of_an_operation(loop, pair):
    async def main():
        task = await waiting(loop, loop.sock_recv(pair[0], 100))
        seen = loop.create_future()
        loop.add_reader(pair[0], lambda: seen.done() or seen.set_result(pair[0].recv(100)))
        pair[1].send(b'data')
        assert await seen == b'data' and not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop.remove_reader(pair[0])
    loop.run_until_complete(main())


def test_both_directions_at_once(loop, pair):
    async def main():
        sending = await waiting(loop, loop.sock_sendall(pair[0], DATA))
        receiving = await waiting(loop, loop.sock_recv(pair[0], 100))
        pair[1].send(b'data')
        assert await receiving == b'data' and not sending.done()
        received = 0
        while received < len(DATA):
            received += len(await loop.sock_recv(pair[1], 1 << 20))
        await sending
    loop.run_until_complete(main())


def test_a_number_is_used_again_between_two_waits(loop):
    async def main():
        numbers = set()
        for number in range(5):
            ours, theirs = socket.socketpair()
            numbers.add(ours.fileno())
            ours.setblocking(False)
            with ours, theirs:
                for turn in range(2):
                    task = await waiting(loop, loop.sock_recv(ours, 100))
                    theirs.send(b'%d' % number)
                    assert await task == b'%d' % number
        assert len(numbers) == 1
    loop.run_until_complete(main())


def test_a_number_is_used_again_during_a_wait():
    """asyncio's own loop, which is not told of the close, waits for the new socket for ever."""
    loop = uwsgi_tornado.EventLoop()

    async def main():
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        task = await waiting(loop, loop.sock_recv(ours, 100))
        number = ours.fileno()
        ours.close()
        others = socket.socketpair()
        assert others[0].fileno() == number
        others[0].setblocking(False)
        others[1].send(b'data of others')
        for _ in range(3):
            await asyncio.sleep(0)
        assert not task.done()
        assert await loop.sock_recv(others[0], 100) == b'data of others'
        other = await waiting(loop, loop.sock_recv(others[0], 100))
        others[1].send(b'more')
        assert await other == b'more'
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for end in (*others, theirs):
            end.close()
    loop.run_until_complete(main())
    loop.close()


def test_data_that_nobody_waits_for_does_not_keep_the_loop_awake(loop, pair, loop_type):
    """Ours keeps a socket registered between waits: until its next event."""
    async def main():
        task = await waiting(loop, loop.sock_recv(pair[0], 100))
        before = uwsgi_tornado._live()['watchers']
        pair[1].send(b'data')
        await task
        pair[1].send(b'more')
        await asyncio.sleep(0.01)
        if loop_type is uwsgi_tornado.EventLoop:
            assert uwsgi_tornado._live()['watchers'] < before
        assert await loop.sock_recv(pair[0], 100) == b'more'
    loop.run_until_complete(main())


def test_a_loop_is_closed_during_a_wait(loop_type, pair):
    loop = loop_type()

    async def main():
        return await waiting(loop, loop.sock_recv(pair[0], 100))
    task = loop.run_until_complete(main())
    loop.close()
    assert not task.done()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        task._log_destroy_pending = False
        del task
        gc.collect()


# --- What is refused ---------------------------------------------------------------------------

def test_errors_of_the_kernel(loop, pair):
    async def main():
        with socket.socket() as unconnected, socket.socket() as refused:
            for end in (unconnected, refused):
                end.setblocking(False)
            with pytest.raises(OSError) as raised:
                await loop.sock_recv(unconnected, 100)
            assert type(raised.value) is OSError and 'not connected' in str(raised.value)
            with pytest.raises(ConnectionRefusedError) as raised:
                await loop.sock_connect(refused, ('127.0.0.1', 1))
            assert raised.value.args[1] == "Connect call failed ('127.0.0.1', 1)"
            with socket.socket(socket.AF_INET6) as sixth:
                sixth.setblocking(False)
                with pytest.raises(ConnectionRefusedError) as raised:
                    await loop.sock_connect(sixth, ('::1', 1))
            assert raised.value.args[1] == "Connect call failed ('::1', 1, 0, 0)"
            with pytest.raises(FileNotFoundError), socket.socket(socket.AF_UNIX) as unix:
                unix.setblocking(False)
                await loop.sock_connect(unix, '/nowhere/at/all')
            with pytest.raises(OSError, match='Invalid argument'):
                await loop.sock_accept(unconnected)
        pair[1].close()
        with pytest.raises(BrokenPipeError):
            await loop.sock_sendall(pair[0], b'data')
        pair[0].close()
        for operation in (loop.sock_recv(pair[0], 1), loop.sock_recv_into(pair[0], bytearray(1)), loop.sock_sendall(pair[0], b'data'),
                          loop.sock_accept(pair[0]), loop.sock_connect(pair[0], '/nowhere')):
            with pytest.raises((OSError, ValueError)):
                await operation
    loop.run_until_complete(main())


def test_an_error_during_a_wait(loop):
    async def main():
        with socket.create_server(('127.0.0.1', 0)) as listener, socket.create_connection(listener.getsockname()) as client:
            client.setblocking(False)
            connection, _ = listener.accept()
            task = await waiting(loop, loop.sock_recv(client, 100))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
            connection.close()
            with pytest.raises(ConnectionResetError):
                await task
            assert not loop.remove_reader(client)
    loop.run_until_complete(main())


@pytest.mark.parametrize('method, arguments, error', (
    ('sock_recv', ('many',), TypeError), ('sock_recv', (-1,), ValueError), ('sock_recv', (1 << 70,), OverflowError),
    ('sock_recv_into', (b'constant',), TypeError), ('sock_recv_into', (memoryview(b'constant'),), TypeError), ('sock_recv_into', (1,), TypeError),
    ('sock_sendall', ('text',), TypeError), ('sock_sendall', (None,), TypeError), ('sock_connect', (1,), TypeError), ('sock_connect', (None,), TypeError)))
def test_wrong_arguments(loop, pair, method, arguments, error):
    async def main():
        with pytest.raises(error):
            await getattr(loop, method)(pair[0], *arguments)
    loop.run_until_complete(main())
    for wrong in ((), (pair[0], 1, 2, 3)):
        with pytest.raises(TypeError):
            getattr(loop, method)(*wrong)


def test_a_socket_with_a_transport_is_refused(loop, pair):
    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=pair[0])
        for operation in (loop.sock_recv(pair[0], 1), loop.sock_recv_into(pair[0], bytearray(1))):
            with pytest.raises(RuntimeError, match='is used by transport'):
                await operation
        transport.close()
        await asyncio.sleep(0)
    loop.run_until_complete(main())


def test_debug_mode_refuses_a_socket_that_blocks(loop, pair):
    loop.set_debug(True)
    pair[0].setblocking(True)

    async def main():
        for operation in (loop.sock_recv(pair[0], 1), loop.sock_recv_into(pair[0], bytearray(1)), loop.sock_sendall(pair[0], b'data'),
                          loop.sock_accept(pair[0]), loop.sock_connect(pair[0], '/nowhere')):
            with pytest.raises(ValueError, match='the socket must be non-blocking'):
                await operation
    loop.run_until_complete(main())


def test_debug_mode_refuses_a_socket_that_blocks_by_the_time_it_is_awaited(loop, pair):
    loop.set_debug(True)

    async def main():
        operation = loop.sock_recv(pair[0], 1)
        pair[0].setblocking(True)
        with pytest.raises(ValueError, match='the socket must be non-blocking'):
            await operation
        refused = loop.sock_recv(pair[0], 1)
        pair[0].setblocking(False)
        pair[1].send(b'1')
        assert await refused == b'1'
    loop.run_until_complete(main())


def test_a_tls_socket_is_refused(loop, pair, client_tls):
    tls = client_tls.wrap_socket(pair[0], server_hostname='localhost', do_handshake_on_connect=False)

    async def main():
        with pytest.raises(TypeError, match='Socket cannot be of type SSLSocket'):
            await loop.sock_recv(tls, 100)
    with tls:
        loop.run_until_complete(main())


def test_methods_of_another_kind_of_socket_are_called(loop, pair):
    class Counting(socket.socket):
        received = 0

        def recv(self, size, *flags):
            data = super().recv(size, *flags)
            self.received += len(data)
            return data

    async def main():
        task = await waiting(loop, loop.sock_recv(counting, 100))
        pair[1].send(b'hello')
        assert await task == b'hello' and counting.received == 5
    with Counting(fileno=pair[0].detach()) as counting:
        counting.setblocking(False)
        loop.run_until_complete(main())


def test_many_connections_at_once(loop):
    async def serve(connection):
        with connection:
            while data := await loop.sock_recv(connection, 65536):
                await loop.sock_sendall(connection, data)

    async def ask(address, number):
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, address)
            for turn in range(3):
                message = b'%d of %d' % (turn, number)
                await loop.sock_sendall(client, message)
                received = b''
                while len(received) < len(message):
                    received += await loop.sock_recv(client, 100)
                assert received == message

    async def main():
        with socket.create_server(('127.0.0.1', 0), backlog=200) as listener:
            listener.setblocking(False)
            address = listener.getsockname()
            asking = asyncio.gather(*(ask(address, number) for number in range(200)))
            serving = [loop.create_task(serve((await loop.sock_accept(listener))[0])) for _ in range(200)]
            await asking
            await asyncio.gather(*serving)
    loop.run_until_complete(main())
