"""Requests that do to their worker what is not done, and requests that wait beside them.

A route is a function of this module; its argument is the query, its result the body.
"""
import asyncio
import builtins
import contextlib
import gc
import multiprocessing
import os
import socket
import sys
import threading
import time
import traceback

import uwsgi
import uwsgi_tornado

HTTP_PORT = int(os.environ.get('HTTP_PORT', 0))
DSN = os.environ.get('DSN')
going_on = threading.Event()


def waits(query):
    time.sleep(float(query))
    return 'waited'


def says(query):
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            print('a line', file=stream, flush=True)
    return 'said'


def fails(query):
    raise ValueError('of the application')


def raises(query):
    time.sleep(0.01)
    raise getattr(builtins, query)('of the application')


def stacks(query):
    """Where everybody is: for whoever looks for what hangs."""
    return '\n'.join(''.join(traceback.format_stack(frame)) for frame in sys._current_frames().values())


# --- Clocks ---


def sets_timeout(query):
    """While the clock leaps."""
    print('app: waits', flush=True)
    assert going_on.wait(20)
    uwsgi.env['uwsgi_tornado.timeout'] = 5
    time.sleep(0.05)
    return 'in time'


def go_on(query):
    going_on.set()
    return 'goes on'


# --- Lines: the answer or an error, nothing else ---


def or_error(body):
    try:
        return body()
    except Exception as error:
        print('app:', repr(error)[:200], flush=True)
        return 'error'


def requests(query):
    import requests as library

    def ask():
        answer = library.get(f'http://127.0.0.1:{HTTP_PORT}/{query}', timeout=20)
        return whole(answer.content, answer.headers)

    return or_error(ask)


def whole(body, headers):
    """That library does not mind less than was promised, and libcurl no end within the headers."""
    if len(body) < int(headers['Content-Length']):
        raise EOFError
    return body.decode()[1:]


def fetch(query):
    def ask():
        answer = uwsgi_tornado.fetch(f'http://127.0.0.1:{HTTP_PORT}/{query}')
        return whole(answer.body, answer.headers)

    return or_error(ask)


def stream(query):
    async def ask():
        reader, writer = await asyncio.open_connection('127.0.0.1', HTTP_PORT)
        try:
            writer.write(b'GET /%s HTTP/1.0\r\n\r\n' % query.encode())
            await reader.readuntil(b'\r\n\r\n')
            return (await reader.readexactly(len(query) + 1)).decode()[1:]
        finally:
            writer.close()

    return or_error(lambda: uwsgi_tornado.await_(ask()))


def by_hand(query):
    with socket.create_connection(('127.0.0.1', HTTP_PORT), 20) as line, line.makefile('rb') as file:
        line.sendall(b'GET /%s HTTP/1.0\r\n\r\n' % query.encode())
        while file.readline().strip():
            pass
        body = file.read(len(query) + 1).decode()
        if len(body) <= len(query):
            raise EOFError
        return body[1:]


def psycopg2(query):
    import psycopg2 as driver

    def ask():
        with contextlib.closing(driver.connect(DSN)) as connection, connection.cursor() as cursor:
            cursor.execute('select %s', [query])
            return cursor.fetchone()[0]

    try:
        return ask()
    except driver.Error:
        return 'error'


def live(query):
    gc.collect()
    return f'{getattr(uwsgi_tornado, "_live", lambda: {"transfers": 0})()["transfers"]} transfers'


# --- Children ---


def exit_code(pid):
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def fork(query):
    pid = os.fork()
    if pid == 0:
        time.sleep(0.05)
        os._exit(int(query) + 100)
    return exit_code(pid)


def child(number, results):
    time.sleep(0.05)
    results.put(number + 100)


def in_process(query):
    context = multiprocessing.get_context('fork')
    results = context.Queue()
    process = context.Process(target=child, args=(int(query), results))
    process.start()
    result = results.get()
    process.join()
    return str(result)


def add_100(number):
    time.sleep(0.05)
    return number + 100


def in_pool(query):
    with multiprocessing.get_context('fork').Pool(2) as processes:
        return str(processes.map(add_100, [int(query)])[0])


def execute(query):
    pid = os.fork()
    if pid == 0:
        os.execv('/bin/sh', ['sh', '-c', f'sleep 0.05; exit {int(query) + 100}'])
    return exit_code(pid)


def spawn(query):
    return exit_code(os.posix_spawnp('sh', ['sh', '-c', f'sleep 0.05; exit {int(query) + 100}'], os.environ))


def becomes(query):
    os.execv('/bin/true', ['true'])


# --- Finalisers ---


class Blocks:
    def __init__(self, ended):
        self.cycle, self.ended = self, ended

    def __del__(self):
        lock = threading.Lock()
        lock.acquire()
        threading.Timer(0.01, lock.release).start()
        with lock:
            time.sleep(0.001)
        self.ended.set()
        raise RuntimeError('of a finaliser')


def finalisers(query):
    ended = threading.Event()
    Blocks(ended)
    wait_for_collector(ended)
    return 'finalised'


def wait_for_collector(ended):
    """One collection at a time: where another is waiting in a finaliser, this one does nothing."""
    until = time.monotonic() + 20
    gc.collect()
    while not ended.wait(0.05):
        assert time.monotonic() < until
        gc.collect()


def finalisers_on_loop(query):
    async def collect():
        ended = threading.Event()
        Blocks(ended)
        gc.collect()
        return ended

    wait_for_collector(uwsgi_tornado.await_(collect()))
    return 'finalised'


ROUTES = {**globals(), 'socket': lambda query: or_error(lambda: by_hand(query)), 'multiprocessing': in_process, 'pool': in_pool,
          'exec': execute}


def application(environ, start_response):
    body = ROUTES[environ['PATH_INFO'][1:]](environ['QUERY_STRING']).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
