"""TLS beside code that replaces functions and classes, and programs that make mistakes. asyncio's loop is the reference."""
import asyncio
import asyncio.sslproto
from unittest import mock

import pytest
from recorder import Recorder
from test_tls import OLD, connect_one, received  # One is a fixture.

# --- What others have replaced ----------------------------------------------------------------------

# Runs in a process of its own, where nothing has been connected yet.
EARLY = '''
import asyncio, asyncio.sslproto, asyncio.streams, functools, socket, ssl
calls = []

def replace(owner, name):
    theirs = getattr(owner, name)

    @functools.wraps(theirs)
    def replaced(self, *args):
        calls.append(name)
        return theirs(self, *args)
    setattr(owner, name, replaced)
    return theirs

async def connect():
    """A byte each way."""
    one, other = socket.socketpair()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain({folder!r} + '/cert.pem', {folder!r} + '/key.pem')
    client_tls = ssl.create_default_context(cafile={folder!r} + '/cert.pem')
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    accepting = loop.create_task(
        loop.connect_accepted_socket(lambda: asyncio.StreamReaderProtocol(reader), one, ssl=server_tls))
    answers, writer = await asyncio.open_connection(sock=other, ssl=client_tls, server_hostname='localhost')
    transport, _ = await accepting
    calls.clear()
    writer.write(b'x')
    assert await reader.readexactly(1) == b'x'
    transport.write(b'y')
    assert await answers.readexactly(1) == b'y'
    transport.abort()
    writer.transport.abort()
    await asyncio.sleep(0)
    return type(transport).__module__

async def main():
    theirs = replace({owner}, {name!r})
    await connect()
    assert calls, 'the function that was put in its place is not called'
    setattr({owner}, {name!r}, theirs)
    print(await connect())

loop = make_loop()
loop.run_until_complete(main())
loop.close()
'''


@pytest.mark.skipif(OLD, reason='asyncio had another class')
@pytest.mark.parametrize('owner, name', [
    ('asyncio.sslproto.SSLProtocol', 'buffer_updated'),
    ('asyncio.sslproto.SSLProtocol', '_do_read'),
    ('asyncio.sslproto.SSLProtocol', '_process_outgoing'),
    ('asyncio.sslproto._SSLProtocolTransport', 'write'),
    ('ssl.SSLObject', 'read'),
    ('ssl.SSLObject', 'write'),
    ('asyncio.streams.StreamReader', 'feed_data'),
    ('asyncio.streams.StreamReaderProtocol', 'data_received'),
])
def test_a_function_replaced_before_the_first_connection_is_called(run_python, certificate, loop_type, owner, name):
    """Tools that trace applications replace functions at the start. Where they put the old ones back C++ is used."""
    result = run_python(EARLY.format(folder=str(certificate), owner=owner, name=name))
    assert result.returncode == 0, result.stderr
    module = 'asyncio.sslproto' if loop_type is asyncio.SelectorEventLoop else 'uwsgi_tornado'
    assert result.stdout.strip() == module


def test_a_transport_class_that_replaced_asyncios_is_used(loop, connect_one):
    class Own(asyncio.sslproto._SSLProtocolTransport):
        pass
    with mock.patch.object(asyncio.sslproto, '_SSLProtocolTransport', Own):
        protocol = Recorder()
        peer = connect_one(protocol)
        assert type(protocol.transport) is Own
        peer.send(b'x')
        received(loop, protocol, b'x')


# --- What is written --------------------------------------------------------------------------------

def test_a_view_that_was_released_cannot_be_written(loop, errors, connect_one):
    protocol = Recorder()
    peer = connect_one(protocol)
    view = memoryview(b'gone')
    view.release()
    with pytest.raises(ValueError, match='released memoryview'):
        protocol.transport.write(view)
    protocol.transport.write(b'kept')
    assert peer.receive(4) == b'kept' and not errors


# --- Other loops ------------------------------------------------------------------------------------

def test_start_tls_of_another_loop(run_python, certificate):
    """A method taken from the class, for a loop that is not of it: asyncio's TLS, and no crash."""
    result = run_python('''
import asyncio, socket, ssl, sys

async def main():
    loop, (one, other) = asyncio.get_running_loop(), socket.socketpair()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(FOLDER + '/cert.pem', FOLDER + '/key.pem')
    client_tls = ssl.create_default_context(cafile=FOLDER + '/cert.pem')
    accepted = loop.create_task(loop.connect_accepted_socket(asyncio.Protocol, one, ssl=server_tls))
    transport, protocol = await loop.create_connection(asyncio.Protocol, sock=other)
    upgraded = await type(made).start_tls(loop, transport, protocol, client_tls, server_hostname='localhost')
    print(type(upgraded).__module__)
    (await accepted)[0].abort()
    upgraded.abort()
    await asyncio.sleep(0)

made = make_loop()
asyncio.run(main())
made.close()
'''.replace('FOLDER', repr(str(certificate))))
    assert result.returncode == 0 and result.stdout.strip() == 'asyncio.sslproto', result.stderr
