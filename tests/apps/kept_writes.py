"""Callbacks of the worker's loop that write to a transport, and then wait. The peer has a message for each system call that sends."""
import asyncio
import fcntl
import select
import socket
import termios
import threading
import time

from uwsgi_tornado import await_, spawn

loop = asyncio.get_event_loop()


async def connected():
    end, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    end.setblocking(False)
    peer.settimeout(20)
    made = loop.create_future()
    transport = loop._make_socket_transport(end, asyncio.Protocol(), made)
    await made
    return transport, peer


def has_come(peer):
    """How many bytes, by a call that nobody redirects."""
    return int.from_bytes(fcntl.ioctl(peer, termios.FIONREAD, bytes(4)), 'little')


def write(transport):
    transport.write(b'head')
    transport.write(b'body')


async def together(transport, peer):
    write(transport)
    kept = has_come(peer) == 0
    await asyncio.sleep(0)
    return kept, peer.recv(100)


async def receives(transport, peer):
    write(transport)
    return peer.recv(100)


async def receives_without_timeout(transport, peer):
    peer.setblocking(True)
    write(transport)
    return peer.recv(100)


async def selects(transport, peer):
    write(transport)
    return select.select([peer], [], [], 20)[0] == [peer]


async def sleeps(transport, peer):
    write(transport)
    time.sleep(0.001)
    return has_come(peer)


async def waits_for_a_fiber(transport, peer):
    """Which answers what it reads. It writes by the same transport, in the middle of this callback."""
    received, done = [], threading.Event()

    def answer():
        received.append(peer.recv(100))
        transport.write(b'from a fiber')
        received.append(peer.recv(100))
        done.set()
    spawn(answer)
    write(transport)
    return done.wait(20), received


async def waits_and_writes_on(transport, peer):
    write(transport)
    time.sleep(0.001)
    write(transport)
    first = has_come(peer)
    await asyncio.sleep(0)
    return first, peer.recv(100), peer.recv(100)


async def has_the_error_in_a_wait(transport, peer):
    """The connection is lost as after any error of send()."""
    peer.close()
    write(transport)
    time.sleep(0.001)
    return transport.is_closing()


def on_its_fiber():
    """A request is no callback."""
    transport, peer = await_(connected())
    write(transport)
    messages = peer.recv(100), peer.recv(100)
    loop.call_soon(transport.abort)
    peer.close()
    return messages


async def run(act):
    transport, peer = await connected()
    result = await act(transport, peer)
    transport.abort()
    peer.close()
    return result


def application(environ, start_response):
    name = environ['PATH_INFO'].strip('/')
    result = on_its_fiber() if name == 'on_its_fiber' else await_(run(globals()[name]))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [repr(result).encode()]
