"""A fetch whose body waits for a lock on the event loop, and is answered meanwhile."""
import socket
import threading
import time

from uwsgi_tornado import await_, fetch_async

lock = threading.Lock()
held, wanted, answered = threading.Event(), threading.Event(), threading.Event()
upstream = socket.create_server(('127.0.0.1', 0))


def refuse():
    """A server that does not wait for the rest of the body."""
    connection, _ = upstream.accept()
    connection.recv(65536)
    wanted.wait()
    connection.sendall(b'HTTP/1.1 400 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    connection.close()
    answered.set()


def hold():
    with lock:
        held.set()
        answered.wait()
        time.sleep(0.1)  # Until the loop has seen the answer; where it has not, the test proves nothing.
    return 'held'


def body():
    yield b'a part'
    wanted.set()
    with lock:
        yield b'the rest'


async def ask():
    return await fetch_async('http://127.0.0.1:%d' % upstream.getsockname()[1], body=body(), raise_error=False)


def fetch():
    threading.Thread(target=refuse, daemon=True).start()
    held.wait()
    return str(await_(ask()).status)


def application(environ, start_response):
    answer = {'/hold': hold, '/fetch': fetch}[environ['PATH_INFO']]().encode()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer]
