"""RPC, and uWSGI's own client sockets: requests that call, and what they call."""
import os
import socket
import threading

from waiting import serve, wait_for_release

import uwsgi


def held(*words):
    """An RPC that waits for /release."""
    wait_for_release()
    return b'-'.join(words)


# Outside any request they are uWSGI's own.
at_import = uwsgi.connect('/no/such/socket'), uwsgi.recv(-1), uwsgi.send(-1, b'x')

uwsgi.register_rpc('join', lambda *words: b'-'.join(words))
uwsgi.register_rpc('large', lambda size: b'x' * int(size))
uwsgi.register_rpc('empty', lambda: b'')
uwsgi.register_rpc('held', held)


def call(query):
    """node,function,argument,argument..."""
    node, *words = query.encode().split(b',')
    return uwsgi.rpc(node or None, *words)


def call_as_text(query):
    """The node may be text, and a local function called by uwsgi.call()."""
    node, *words = query.split(',')
    words = [word.encode() for word in words]
    return uwsgi.rpc(node, *words) if node else uwsgi.call(*words)


def large(query):
    node, size = query.split(',')
    answer = uwsgi.rpc(node, b'large', size.encode())
    return f'{len(answer)} {set(answer)}'


# --- connect(), send(), recv() ---

def fetch(address):
    fd = uwsgi.connect(address, 30)
    blocks = os.get_blocking(fd)
    sent = uwsgi.send(fd, b'GET / HTTP/1.0\r\n\r\n')
    answer = b''
    while piece := uwsgi.recv(fd):
        answer += piece
    connected = uwsgi.is_connected(fd)
    uwsgi.close(fd)
    return f'{blocks} {sent} {answer.split()[1].decode()} {connected}'


def connect(query):
    address, timeout = query.split(',')
    return uwsgi.connect(address, int(timeout))


def send_much(kind):
    """To a reader that starts at /release: what came of it."""
    reader, writer = os.pipe() if kind == 'pipe' else [sock.detach() for sock in socket.socketpair()]
    got = []

    def read():
        wait_for_release()
        while piece := os.read(reader, 65536):
            got.append(piece)

    thread = threading.Thread(target=read)
    thread.start()
    data = os.urandom(300000)
    sent = uwsgi.send(writer, data)
    os.close(writer)
    thread.join()
    os.close(reader)
    return f'{sent} {b"".join(got) == data}'


def receive(kind):
    """From a writer that starts at /release, as many bytes as asked for at most."""
    reader, writer = os.pipe() if kind == 'pipe' else [sock.detach() for sock in socket.socketpair()]

    def write():
        wait_for_release()
        os.write(writer, b'0123456789')
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    got = uwsgi.recv(reader, 4), uwsgi.recv(reader), uwsgi.recv(reader)
    thread.join()
    os.close(reader)
    return got


def nonblocking(_):
    """uWSGI's answers where the descriptor does not block, or is none."""
    sock, peer = socket.socketpair()
    sock.setblocking(False)
    nothing = uwsgi.recv(sock.fileno())
    peer.send(b'x')
    return nothing, uwsgi.recv(sock.fileno()), uwsgi.send(sock.fileno(), b'y'), peer.recv(9), uwsgi.recv(-1)


application = serve({'/call': call, '/call_as_text': call_as_text, '/large': large, '/fetch': fetch,
                     '/connect': connect, '/send_much': send_much, '/receive': receive, '/nonblocking': nonblocking,
                     '/at_import': lambda _: at_import})
