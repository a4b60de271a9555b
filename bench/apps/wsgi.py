"""The application every WSGI contender runs, unchanged between them."""
import os
import socket
import threading
import time
import types


PLAIN = [('Content-Type', 'text/plain')]
held = threading.local()
process = types.SimpleNamespace()
waiting = 0
released = False


def respond(start_response, body):
    start_response('200 OK', PLAIN + [('Content-Length', str(len(body)))])
    return [body]


def hello(environ, start_response):
    return respond(start_response, b'hello')


def timer(environ, start_response):
    time.sleep(0.1)
    return respond(start_response, b'hello')


def second(environ, start_response):
    time.sleep(1)
    return respond(start_response, b'hello')


def stream(environ, start_response):
    start_response('200 OK', PLAIN)
    chunk = b'x' * 100
    return (chunk for _ in range(100))


def fetch(environ, start_response):
    import requests
    return respond(start_response, requests.get(os.environ['BENCH_UPSTREAM']).content)


def http_client():
    from tornado.httpclient import AsyncHTTPClient
    if not hasattr(process, 'configured'):
        process.configured = True
        AsyncHTTPClient.configure(AsyncHTTPClient.configured_class(), max_clients=300)
    return AsyncHTTPClient()


def async_fetch(environ, start_response):
    import uwsgi_tornado
    return respond(start_response, uwsgi_tornado.await_(http_client().fetch(os.environ['BENCH_UPSTREAM'])).body)


def c_fetch(environ, start_response):
    import uwsgi_tornado
    return respond(start_response, uwsgi_tornado.fetch(os.environ['BENCH_UPSTREAM']).body)


def fan_out(environ, start_response):
    from uwsgi_tornado import fetch_async, gather_
    answers = gather_(*[fetch_async(os.environ['BENCH_UPSTREAM']) for _ in range(20)])
    return respond(start_response, b''.join(answer.body for answer in answers))


def urllib3_fetch(environ, start_response):
    if not hasattr(process, 'pool'):
        import urllib3
        process.pool = urllib3.PoolManager(maxsize=300)
    return respond(start_response, process.pool.request('GET', os.environ['BENCH_UPSTREAM']).data)


def await_done(environ, start_response):
    """ns for an await_() of a future that is done, and of a coroutine that returns at once."""
    import asyncio
    import uwsgi_tornado
    future = asyncio.get_event_loop().create_future()
    future.set_result(None)

    async def nothing():
        pass

    def of_future(times):
        for _ in range(times):
            uwsgi_tornado.await_(future)

    def of_coroutine(times):
        for _ in range(times):
            uwsgi_tornado.await_(nothing())
    return respond(start_response, ns_each(20000, of_future) + b' ' + ns_each(20000, of_coroutine))


def query(environ, start_response):
    import psycopg2
    if not hasattr(held, 'connection'):
        held.connection = psycopg2.connect(os.environ['BENCH_POSTGRES'])
        held.connection.autocommit = True
    with held.connection.cursor() as cursor:
        cursor.execute('select pg_sleep(0.2)')
    return respond(start_response, b'hello')


def query_mysql(environ, start_response):
    import MySQLdb
    if not hasattr(held, 'connection'):
        held.connection = MySQLdb.connect(host='127.0.0.1', port=int(os.environ['BENCH_MYSQL_PORT']), user='root')
    with held.connection.cursor() as cursor:
        cursor.execute('select sleep(0.2)')
    return respond(start_response, b'hello')


def hold(environ, start_response):
    """Waits, a few frames deep, until /release; /waiting tells how many do."""
    global waiting
    waiting += 1
    while not released:
        time.sleep(1)
    waiting -= 1
    return respond(start_response, b'hello')


def release(environ, start_response):
    global released
    released = True
    return respond(start_response, b'released')


def work(rounds):
    value = 0
    for number in range(rounds):
        value = (value * 31 + number) % 1000003
    return value


def compute(environ, start_response):
    """Computes; the query says how many rounds. Answers the seconds it took."""
    started = time.monotonic()
    work(int(environ['QUERY_STRING']))
    return respond(start_response, b'%.4f' % (time.monotonic() - started))


def count_waiting(environ, start_response):
    return respond(start_response, b'%d' % waiting)


def ns_each(times, work):
    """CPU time, the best of five: what else the machine does counts least."""
    best = float('inf')
    for _ in range(5):
        started = time.thread_time_ns()
        work(times)
        best = min(best, (time.thread_time_ns() - started) / times)
    return b'%.1f' % best


def socket_pair(environ, start_response):
    """ns for a send and a recv of 1 KiB that need not wait."""
    one, other = socket.socketpair()
    data = b'x' * 1024

    def work(times):
        for _ in range(times):
            one.send(data)
            other.recv(1024)
    with one, other:
        return respond(start_response, ns_each(40000, work))


def lock(environ, start_response):
    """ns to acquire and release a lock that nobody holds."""
    free = threading.Lock()
    acquire, release_it = free.acquire, free.release

    def work(times):
        for _ in range(times):
            acquire()
            release_it()
    return respond(start_response, ns_each(300000, work))


def switches(environ, start_response):
    """Two threads take turns by two locks, so many times each. Answers ns for a turn."""
    turns = int(environ['QUERY_STRING'])
    mine, others = threading.Lock(), threading.Lock()
    mine.acquire()
    others.acquire()

    def answer():
        for _ in range(turns):
            others.acquire()
            mine.release()
    thread = start(answer)
    started = time.perf_counter_ns()
    for _ in range(turns):
        others.release()
        mine.acquire()
    took_ns = time.perf_counter_ns() - started
    thread()
    return respond(start_response, b'%.1f' % (took_ns / (2 * turns)))


def start(function):
    """A thread as the server has them for requests: virtual, or of the OS. Returns what waits for its end."""
    try:
        from uwsgi_tornado import spawn
    except ImportError:
        thread = threading.Thread(target=function)
        thread.start()
        return thread.join
    return spawn(function).result


def busy(environ, start_response):
    """From now on a thread of the OS computes in Python. Answers its number."""
    def compute_on():
        while True:
            work(100000)
    thread = threading.Thread(target=compute_on, daemon=True)
    thread.start()
    return respond(start_response, b'%d' % thread.native_id)


ROUTES = {'/hello': hello, '/timer': timer, '/second': second, '/stream': stream, '/fetch': fetch, '/query': query,
          '/query_mysql': query_mysql, '/async_fetch': async_fetch, '/c_fetch': c_fetch, '/fan_out': fan_out, '/urllib3': urllib3_fetch,
          '/await': await_done, '/hold': hold, '/compute': compute, '/release': release, '/waiting': count_waiting,
          '/socketpair': socket_pair, '/lock': lock, '/switches': switches, '/busy': busy}


def application(environ, start_response):
    return ROUTES[environ['PATH_INFO']](environ, start_response)
