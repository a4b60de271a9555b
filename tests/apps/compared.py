"""One WSGI application for every server of the README's comparison; COMPARED names the server.

Nothing but wait(), for engines that suspend by their own means only, knows which one runs it.
"""
import os

SERVER = os.environ['COMPARED']
if SERVER in ('uWSGI gevent', 'gunicorn gevent'):
    from gevent import monkey
    monkey.patch_all()  # Before anything else is imported, as its documentation has it.

import asyncio
import pathlib
import sys
import threading
import time

ROUNDS = 10
EACH_S = 0.05

held = threading.local()
inside = 0


def say(line):
    print(line, file=sys.stderr, flush=True)


# --- Waits ------------------------------------------------------------------------------------

def sleep():
    time.sleep(EACH_S)


def requests_get():
    import requests
    requests.get(os.environ['COMPARED_UPSTREAM'])


def psycopg2_query():
    import psycopg2
    if not hasattr(held, 'postgres'):
        held.postgres = psycopg2.connect(os.environ['COMPARED_POSTGRES'])
        held.postgres.autocommit = True
    with held.postgres.cursor() as cursor:
        cursor.execute(f'select pg_sleep({EACH_S})')


def mysqlclient_query():
    import MySQLdb
    if not hasattr(held, 'mariadb'):
        held.mariadb = MySQLdb.connect(host='127.0.0.1', port=int(os.environ['COMPARED_MARIADB']), user='root')
    cursor = held.mariadb.cursor()
    cursor.execute(f'select sleep({EACH_S})')
    cursor.fetchall()


def pycurl_perform():
    import pycurl
    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, os.environ['COMPARED_UPSTREAM'])
    handle.setopt(pycurl.WRITEFUNCTION, lambda data: None)
    handle.perform()


def asyncio_run():
    asyncio.run(asyncio.sleep(EACH_S))


def compute():
    end = time.monotonic() + EACH_S
    while time.monotonic() < end:
        pass


def switch_back_later(call_later):
    import greenlet
    me = greenlet.getcurrent()
    call_later(me.switch)
    me.parent.switch()


def wait_on_asyncio():
    switch_back_later(lambda switch: asyncio.get_event_loop().call_later(EACH_S, switch))


def wait_on_tornado():
    from tornado.ioloop import IOLoop
    switch_back_later(lambda switch: IOLoop.current().add_timeout(time.time() + EACH_S, switch))


wait = {'uWSGI asyncio': wait_on_asyncio, 'uWSGI tornado': wait_on_tornado}.get(SERVER, sleep)


# --- What is asked ----------------------------------------------------------------------------

def met(operation):
    """Repeats the operation for half a second, or until another request runs meanwhile: whether one did."""
    global inside
    inside += 1
    try:
        for _ in range(ROUNDS):
            operation()
            if inside > 1:
                return True
        return False
    finally:
        inside -= 1


def keeps_its_local():
    """Whether what a request puts into a threading.local is its own while it waits."""
    held.request = mine = object()
    for _ in range(ROUNDS):
        wait()
    return held.request is mine


def is_patched():
    return type(threading.Lock()).__module__ != '_thread' or type(time.sleep) is not type(len)


def deadline(environ):
    """Whether an endless wait is ended from outside, and by what."""
    if SERVER in ('uWSGI gevent', 'gunicorn gevent'):
        import gevent
        try:
            with gevent.Timeout(EACH_S):
                time.sleep(60)
        except gevent.Timeout:
            return True
    environ['uwsgi_tornado.timeout'] = EACH_S
    time.sleep(60)


def leaves():
    """Says in the log whether the request hears that its client has gone."""
    say('leaves: begun')
    try:
        for _ in range(ROUNDS):
            wait()
    except BaseException as error:
        say(f'leaves: told by {type(error).__name__}')
        raise
    say('leaves: not told')


def survives():
    """Waits until it may end."""
    say('survives: begun')
    while not pathlib.Path(os.environ['COMPARED_MAY_END']).exists():
        wait()
    return True


def client_of_the_worker():
    """One client of asyncio's, made once, waited for by two requests: whether both have their answer."""
    if SERVER == 'uwsgi-tornado':
        import uwsgi_tornado
        return uwsgi_tornado.await_(shared_client()) == 'answer'
    import greenlet
    me = greenlet.getcurrent()
    future = asyncio.ensure_future(shared_client(), loop=asyncio.get_event_loop())
    future.add_done_callback(lambda _: me.switch())
    me.parent.switch()
    return future.result() == 'answer'


async def shared_client():
    await asyncio.sleep(EACH_S)
    return 'answer'


def echo(environ):
    import uwsgi
    uwsgi.websocket_handshake(environ['HTTP_SEC_WEBSOCKET_KEY'], environ.get('HTTP_ORIGIN', ''))
    uwsgi.websocket_send(uwsgi.websocket_recv())


MEETINGS = {'/sleep': sleep, '/requests': requests_get, '/psycopg2': psycopg2_query, '/mysqlclient': mysqlclient_query,
            '/pycurl': pycurl_perform, '/asyncio_run': asyncio_run, '/compute': compute}
QUESTIONS = {'/local': keeps_its_local, '/patched': is_patched, '/leaves': leaves, '/survives': survives, '/client': client_of_the_worker}


def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/websocket':
        echo(environ)
        return []
    if path == '/deadline':
        answer = deadline(environ)
    else:
        answer = met(MEETINGS[path]) if path in MEETINGS else QUESTIONS[path]()
    body = b'yes' if answer else b'no'
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
