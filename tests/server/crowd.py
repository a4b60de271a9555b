"""Many connections at once, from one thread of the test. The app is overload.py."""
import contextlib
import pathlib
import resource
import selectors
import socket
import time

from health import closed_by_server

GET = b'GET / HTTP/1.0\r\n\r\n'
HOLD = b'POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\n'


def backlog(wanted=4096):
    """A listen queue as long as wanted, where the kernel lets it be so long."""
    return str(min(wanted, int(pathlib.Path('/proc/sys/net/core/somaxconn').read_text())))


@contextlib.contextmanager
def cores_taken(running, count):
    """Requests that hold `count` cores within the block, which gets their connections; they end well after it."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(running.connect()) for _ in range(count)]
        for connection in held:
            connection.sendall(HOLD)
        for connection in held:
            connection.recv(1)  # The request runs.
        yield held
        for connection in held:
            connection.sendall(b'x')
        for connection in held:
            assert closed_by_server(connection).endswith(b' let go')


def raise_descriptor_limit(wanted):
    """Of this process and the servers it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    return min(max(soft, wanted), hard)


def status_of(answer):
    return int(answer.split(b' ', 2)[1]) if answer else answer


def ask_at_once(port, count, request=GET, timeout_s=60):
    """Opens `count` connections without waiting for any: the answers, None where there was a reset or no
    answer in time."""
    clients, answers = selectors.DefaultSelector(), [None] * count
    for index in range(count):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(('127.0.0.1', port))
        try:
            connection.sendall(request)  # Mostly it is there at once.
            clients.register(connection, selectors.EVENT_READ, (index, bytearray()))
        except OSError:
            clients.register(connection, selectors.EVENT_WRITE, (index, bytearray()))
    deadline = time.monotonic() + timeout_s
    while clients.get_map() and (left_s := deadline - time.monotonic()) > 0:
        for key, events in clients.select(left_s):
            go_on(clients, key, events, request, answers)
    for key in list(clients.get_map().values()):
        key.fileobj.close()
    clients.close()
    return answers


def go_on(clients, key, events, request, answers):
    index, received = key.data
    try:
        if events & selectors.EVENT_WRITE:
            key.fileobj.sendall(request)
            clients.modify(key.fileobj, selectors.EVENT_READ, key.data)
            return
        chunk = key.fileobj.recv(65536)
        received += chunk
        if chunk:
            return
        answers[index] = bytes(received)
    except OSError:
        pass
    clients.unregister(key.fileobj)
    key.fileobj.close()
