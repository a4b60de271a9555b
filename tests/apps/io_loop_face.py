"""The worker's IOLoop under Tornado's names: from the import, from requests, on the hub."""
import asyncio
import datetime
import os
import socket
import threading
import time

from uwsgi_tornado import IOLoop, PeriodicCallback

io_loop = IOLoop.instance()
at_import = []
ticks = []
io_loop.add_callback(lambda: at_import.append(asyncio.get_running_loop() is io_loop.asyncio_loop))
io_loop.add_timeout(datetime.timedelta(milliseconds=1), at_import.append, 'timeout')
periodic = PeriodicCallback(lambda: ticks.append(threading.get_ident()), 5)
periodic.start()


def on_hub(function, *args):
    """What function(*args) gives as a callback of the loop."""
    results, done = [], threading.Event()

    def call():
        try:
            results.append(function(*args))
        finally:
            done.set()
    io_loop.add_callback(call)
    assert done.wait(10)
    return results[0]


def since_import(query):
    return at_import + [bool(ticks)]


def same(query):
    def ask():
        return IOLoop.instance() is io_loop, IOLoop.current() is io_loop, IOLoop.current(instance=False) is io_loop
    from_thread = []
    thread = threading.Thread(target=lambda: from_thread.append(IOLoop.instance() is io_loop))
    thread.start()
    thread.join()
    return ask() + on_hub(ask) + tuple(from_thread)


def hub(query):
    """Callbacks run on the hub, not in the request that asked."""
    return len({threading.get_ident(), on_hub(threading.get_ident)}) == 2, on_hub(asyncio.get_running_loop) is io_loop.asyncio_loop


def thread(query):
    results, done = [], threading.Event()

    def call():
        io_loop.add_callback(lambda: (results.append(threading.get_ident()), done.set()))
    starter = threading.Thread(target=call)
    starter.start()
    done.wait(10)
    starter.join()
    return results == [on_hub(threading.get_ident)]


def timer(query):
    """One timer that fires and one that is removed, before it in time."""
    seen, done = [], threading.Event()
    removed = io_loop.add_timeout(time.time() + 0.01, seen.append, 'removed')
    io_loop.add_timeout(time.time() + float(query), lambda: (seen.append('fired'), done.set()))
    io_loop.remove_timeout(removed)
    done.wait(10)
    io_loop.remove_timeout(removed)
    return seen


def sockets(query):
    """A handler of a raw socket: reads on the hub what is sent later."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    received, done = [], threading.Event()

    def readable(sock, events):
        received.append((sock is ours, events, sock.recv(10)))
        if len(received) == 1:
            io_loop.call_later(0.02, theirs.send, b'two')
        else:
            io_loop.remove_handler(sock)
            done.set()

    io_loop.add_handler(ours, readable, io_loop.READ)
    theirs.send(b'one')
    done.wait(10)
    with ours, theirs:
        return received


def writable(query):
    ours, theirs = socket.socketpair()
    seen, done = [], threading.Event()
    io_loop.add_handler(ours.fileno(), lambda fd, events: (seen.append((fd == ours.fileno(), events)), io_loop.remove_handler(fd), done.set()),
                        io_loop.NONE)
    io_loop.update_handler(ours, io_loop.WRITE)
    done.wait(10)
    with ours, theirs:
        return seen


def executor(query):
    results, done = [], threading.Event()
    future = io_loop.run_in_executor(None, lambda: 6 * 7)
    io_loop.add_future(future, lambda future: (results.append(future.result()), done.set()))
    done.wait(10)
    return results


def run_sync(query):
    async def wait(seconds):
        await asyncio.sleep(seconds)
        return asyncio.get_running_loop() is io_loop.asyncio_loop
    answers = [io_loop.run_sync(lambda: wait(float(query)))]
    try:
        io_loop.run_sync(lambda: wait(100), timeout=0.01)
    except asyncio.TimeoutError as error:
        answers.append(str(error))
    return answers


def refusals(query):
    said = []
    for call in (io_loop.start, io_loop.stop, io_loop.close):
        for run in (lambda call: call(), lambda call: on_hub(refused, call)):
            try:
                said.append(run(call))
            except RuntimeError as error:
                said.append(str(error))
    return said


def refused(call):
    try:
        call()
    except RuntimeError as error:
        return str(error)


def failing(query):
    def fails():
        raise ValueError('of a callback')

    async def fails_later():
        await asyncio.sleep(0)
        raise KeyError('of a coroutine')
    io_loop.add_callback(fails)
    io_loop.add_callback(fails_later)
    return on_hub(lambda: 'served')


left = []


def leave(query):
    """What is not taken back is no harm to a worker that ends."""
    ours, theirs = socket.socketpair()
    io_loop.add_handler(ours, print, io_loop.READ)
    coroutine_runs = PeriodicCallback(lambda: asyncio.sleep(100), 1)
    coroutine_runs.start()
    left.extend([ours, theirs, io_loop.call_later(1000, print), coroutine_runs])
    return 'left'


def sleep(query):
    before = len(ticks)
    time.sleep(float(query))
    return len(ticks) - before, len(set(ticks))


def stop_periodic(query):
    periodic.stop()
    count = len(ticks)
    time.sleep(0.03)
    return periodic.is_running(), len(ticks) - count


def pid(query):
    return os.getpid(), bool(ticks)


def application(environ, start_response):
    answer = globals()[environ['PATH_INFO'].strip('/')](environ['QUERY_STRING'])
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [repr(answer).encode()]
