"""Waits of every kind that would outlast any test; /caught/KIND says what ended it, /KIND lets it out."""
import asyncio
import concurrent.futures.thread
import gc
import json
import multiprocessing
import os
import queue
import select
import selectors
import socket
import subprocess
import sys
import threading
import time

import uwsgi
import uwsgi_tornado

LONG_S = 600
UPSTREAM = os.environ.get('UPSTREAM_PORT')
DSN = os.environ.get('DSN')
held = threading.Lock()
held.acquire()
held_rlock = threading.RLock()
notes = {}


def say(*words):
    print('app:', *words, file=sys.stderr, flush=True)


def pair():
    ours, theirs = socket.socketpair()
    notes.setdefault('kept', []).extend((ours, theirs))
    return ours


def in_recv(environ):
    pair().recv(1)


def in_timed_recv(environ):
    ours = pair()
    ours.settimeout(LONG_S)
    ours.recv(1)


def in_file_of_socket(environ):
    pair().makefile('rb').readline()


def in_send(environ):
    pair().sendall(bytes(64 << 20))


def in_accept(environ):
    with socket.create_server(('127.0.0.1', 0)) as listener:
        listener.accept()


def in_pipe(environ):
    reader, notes['pipe'] = os.pipe()
    os.read(reader, 1)


def in_select(environ):
    select.select([pair()], [], [])


def in_poll(environ):
    poller = select.poll()
    poller.register(pair(), select.POLLIN)
    poller.poll()


def in_selector(environ):
    with selectors.DefaultSelector() as selector:
        selector.register(pair(), selectors.EVENT_READ)
        selector.select()


def in_sleep(environ):
    time.sleep(LONG_S)


def in_lock(environ):
    with held:
        raise AssertionError('the lock is held')


def in_timed_lock(environ):
    held.acquire(timeout=LONG_S)


def in_rlock(environ):
    owner = threading.Thread(target=lambda: (held_rlock.acquire(), threading.Event().wait(LONG_S)), daemon=True)
    if 'owner' not in notes:
        notes['owner'] = owner
        owner.start()
        while held_rlock.acquire(blocking=False):
            held_rlock.release()
            time.sleep(0.01)
    with held_rlock:
        raise AssertionError('the lock is held')


def in_process_lock(environ):
    lock = multiprocessing.get_context('fork').Lock()
    lock.acquire()
    with lock:
        raise AssertionError('the lock is held')


def in_event(environ):
    threading.Event().wait()


def in_condition(environ):
    condition = threading.Condition()
    with condition:
        condition.wait(LONG_S)


def in_queue(environ):
    queue.Queue().get()


def in_simple_queue(environ):
    queue.SimpleQueue().get()


def in_thread_join(environ):
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, daemon=True)
    thread.start()
    try:
        thread.join()
    finally:
        stop.set()


def in_thread_pool(environ):
    stop = threading.Event()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        pool.submit(stop.wait).result()
    finally:
        stop.set()


def in_subprocess(environ):
    subprocess.run(['sleep', str(LONG_S)])


def in_communicate(environ):
    subprocess.run(['sleep', str(LONG_S)], capture_output=True)


def in_requests(environ):
    import requests

    requests.get(f'http://127.0.0.1:{UPSTREAM}/never')


def in_urllib_tls(environ):
    import ssl

    ssl.create_default_context().wrap_socket(pair(), server_hostname='localhost')


def in_asyncio_run(environ):
    asyncio.run(asyncio.sleep(LONG_S))


async def cleaning_up(key):
    try:
        await asyncio.sleep(LONG_S)
    finally:
        await asyncio.sleep(0.01)
        notes[key] = 'cleaned up'


def in_await(environ):
    try:
        uwsgi_tornado.await_(cleaning_up('await'))
    except uwsgi_tornado.RequestInterrupted:
        assert notes.pop('await') == 'cleaned up'
        raise


def in_await_timed(environ):
    uwsgi_tornado.await_(asyncio.sleep(LONG_S), timeout=LONG_S)


def in_gather(environ):
    uwsgi_tornado.gather_(cleaning_up('first'), cleaning_up('second'))


def in_await_pool(environ):
    stop = threading.Event()
    try:
        uwsgi_tornado.await_(concurrent.futures.ThreadPoolExecutor(1).submit(stop.wait))
    finally:
        stop.set()


def in_to_thread(environ):
    stop = threading.Event()
    try:
        uwsgi_tornado.to_thread(stop.wait)
    finally:
        stop.set()


def in_fetch(environ):
    uwsgi_tornado.fetch(f'http://127.0.0.1:{UPSTREAM}/never')


def in_signal_wait(environ):
    uwsgi.signal_wait(7)


def in_suspend(environ):
    uwsgi.async_sleep(LONG_S)
    uwsgi.suspend()


def in_wait_fd(environ):
    notes['waited'] = pair()
    uwsgi.wait_fd_read(notes['waited'].fileno(), LONG_S)
    uwsgi.suspend()


def in_input(environ):
    environ['wsgi.input'].read()


def in_input_line(environ):
    environ['wsgi.input'].readline()


def in_websocket(environ):
    uwsgi.websocket_handshake()
    uwsgi.websocket_recv()


def in_psycopg2(environ):
    import psycopg2

    # The server goes on with a query whose client has gone, and the next tests wait for its sessions.
    connection = psycopg2.connect(DSN, options='-c statement_timeout=5s')
    try:
        connection.cursor().execute('select pg_sleep(%s)', (LONG_S,))
    finally:
        connection.close()


WAITS = {name[3:]: function for name, function in list(globals().items()) if name.startswith('in_')}


def swallows(environ):
    """Is told again at each wait."""
    told = []
    for kind in ('sleep', 'recv', 'await_timed', 'event', 'sleep'):
        started = time.monotonic()
        try:
            WAITS[kind](environ)
        except uwsgi_tornado.RequestTimeout:
            told.append(f'{kind} {time.monotonic() - started:.1f}')
    return '\n'.join(told)


def cleans_up(environ):
    """A lock that is held for a moment is waited for after the exception, too."""
    lock = threading.Lock()
    lock.acquire()
    try:
        time.sleep(LONG_S)
    except uwsgi_tornado.RequestTimeout:
        threading.Timer(0.2, lock.release).start()
        with lock:
            return 'had the lock'


def shielded(environ):
    with uwsgi_tornado.shield():
        time.sleep(0.6)
        with uwsgi_tornado.shield():
            uwsgi_tornado.await_(asyncio.sleep(0.1))
        held.acquire(timeout=0.1)
    said = 'through'
    try:
        time.sleep(LONG_S)
    except uwsgi_tornado.RequestTimeout:
        said += ', then told'
    return said


def sets_its_own(environ):
    environ['uwsgi_tornado.timeout'] = float(environ['QUERY_STRING'])
    started = time.monotonic()
    try:
        time.sleep(1.5)
    except uwsgi_tornado.RequestTimeout:
        return 'timed out'
    return 'slept on'


def forks(environ):
    """A child that has this connection, too, until it is told to end."""
    reader, writer = os.pipe()
    notes['child'] = os.fork()
    if notes['child'] == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    notes['child_ends'] = writer
    return 'forked'


def holds_fork_lock(environ):
    """A lock that os.fork() takes first and releases last."""
    lock = concurrent.futures.thread._global_shutdown_lock
    with lock:
        say('has the lock')
        time.sleep(1)
        assert lock.locked()
    return 'had the lock'


def forks_late(environ):
    environ['uwsgi_tornado.timeout'] = 0.1
    child = os.fork()
    if child == 0:
        os._exit(0)
    try:
        time.sleep(LONG_S)
    except uwsgi_tornado.RequestTimeout:
        with uwsgi_tornado.shield():
            os.waitpid(child, 0)
    return 'forked, then told'


def waits_for_release(environ):
    event = notes['release'] = threading.Event()
    say('waits for its release')
    event.wait()
    return 'released'


def releases(environ):
    os.close(notes['child_ends'])
    os.waitpid(notes['child'], 0)
    notes['release'].set()
    return 'releases'


def collects(environ):
    gc.collect()
    return 'collected'


SAYS = {'collect': collects, 'forks': forks, 'forks_late': forks_late, 'holds_fork_lock': holds_fork_lock,
        'waits_for_release': waits_for_release, 'releases': releases, 'swallows': swallows, 'cleans_up': cleans_up,
        'shielded': shielded, 'own': sets_its_own}


def holds_the_loop():
    say('holds the loop')
    with uwsgi_tornado.no_suspend():
        time.sleep(LONG_S)


def waits_to_stop():
    say('waits in spawn')
    uwsgi_tornado.stopping.wait(LONG_S)


def callback_holds_the_loop():
    asyncio.get_event_loop().call_soon(holds_the_loop)
    time.sleep(LONG_S)


class Streamed:
    """Yields, waits, and says when it is closed."""

    def __init__(self, waits_before):
        self.chunks = self.stream(waits_before)

    def __iter__(self):
        return self.chunks

    def stream(self, waits_before):
        if waits_before:
            time.sleep(LONG_S)
        yield b'begun\n'
        time.sleep(LONG_S)

    def close(self):
        say('closed')


def yields_and_waits(environ):
    try:
        yield b'begun\n'
        uwsgi.async_sleep(LONG_S)
        yield b''
    except BaseException as error:
        say('in the generator:', type(error).__name__)
        raise
    finally:
        say('generator ended')


def application(environ, start_response):
    path = environ['PATH_INFO'].strip('/')
    if path == 'quick':
        start_response('200 OK', [('Content-Length', '5')])
        return [b'quick']
    start_response('200 OK', [('Content-Type', 'text/plain')])
    if path == 'fibers':
        return [json.dumps(uwsgi_tornado.fibers()).encode()]
    if path == 'dump':
        return [uwsgi_tornado.dump().encode()]
    if path == 'spawn':
        notes['spawned'] = uwsgi_tornado.spawn(waits_to_stop)
        return [b'spawned']
    if path == 'holds_the_loop':
        holds_the_loop()
    if path == 'callback_holds_the_loop':
        callback_holds_the_loop()
    if path == 'connected':
        environ['wsgi.input'].read(1)
        say('connected:', uwsgi_tornado.is_connected())
        while uwsgi_tornado.is_connected():
            time.sleep(0.01)
        say('left')
        return []
    if path == 'poll_connected':
        return [str(uwsgi_tornado.is_connected()).encode()]
    if path in SAYS:
        return [SAYS[path](environ).encode()]
    if path == 'stream':
        return Streamed(False)
    if path == 'stream_waiting':
        return Streamed(True)
    if path == 'yields':
        return yields_and_waits(environ)
    if path == 'big':
        return [bytes(64 << 20)]
    if not path.startswith('caught/'):
        say('waits in', path)
        WAITS[path](environ)
        raise AssertionError('it came to an end')
    try:
        WAITS[path[len('caught/'):]](environ)
    except uwsgi_tornado.RequestInterrupted as error:
        return [f'{type(error).__name__}: {error}'.encode()]
    except BaseException as error:  # A test wants to see what came in its place.
        return [f'instead: {error!r}'.encode()]
    return [b'it came to an end']
