"""Descriptors that are closed in the turn in which the worker's event loop begins to watch them."""
import asyncio
import os
import socket
import threading

import uwsgi_tornado
from router import serve


def in_a_thread(close):
    thread = threading.Thread(target=close)
    thread.start()
    thread.join()


CLOSES = {
    '/here': lambda a: a.close(),
    '/by_number': lambda a: os.close(a.detach()),
    '/in_a_thread': lambda a: in_a_thread(a.close),
    '/replaced': lambda a: os.dup2(os.open(__file__, os.O_RDONLY), a.fileno()),
}


async def watch_and_close(close):
    """How often what was closed is called ready, though its number means a readable file at once."""
    loop = asyncio.get_running_loop()
    a, b = socket.socketpair()
    a.setblocking(False)
    called = []
    for _ in range(2):  # Watched for something else, then no more.
        loop.add_reader(a, called.append, 'reader')
        loop.remove_reader(a)
    receiving = asyncio.ensure_future(loop.sock_recv(a, 1))
    loop.add_writer(a, called.append, 'writer')
    await asyncio.sleep(0)
    number = a.fileno()
    loop.add_writer(a, called.append, 'writer')
    close(a)
    taken = []
    while not os.path.exists(f'/proc/self/fd/{number}'):
        taken.append(os.open(__file__, os.O_RDONLY))
    await asyncio.sleep(0.001)
    called.clear()  # A thread is waited for by turning the loop: until then it was ready.
    for _ in range(20):
        await asyncio.sleep(0.001)
    loop.remove_writer(number)
    receiving.cancel()
    await asyncio.wait([receiving])
    if a.fileno() >= 0:
        a.close()
    for fd in taken:
        os.close(fd)
    b.close()
    return len(called)


def route(close):
    return lambda n: uwsgi_tornado.await_(watch_and_close(close))


application = serve({path: route(close) for path, close in CLOSES.items()})
