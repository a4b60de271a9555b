"""The applications of examples/ that know nothing of the engine: Flask, Django, a chat by long poll, Redis."""
import concurrent.futures
import contextlib
import json
import os
import subprocess

import pytest

from conftest import OTHER_PYTHON, ROOT
from health import closed_by_server
from overlap import ask_at_once, assert_far_below_serial, wait_until
from services import Redis, free_port
from upstreams import DELAY_S

EXAMPLES = ROOT / 'examples'
COUNT = 50
PYTHON = OTHER_PYTHON or '/usr/bin/python3'


@pytest.fixture(params=['fibers', 'threads'])
def start(request, server, threaded_server):
    """Starts an example on the engine as its README says, or its application on OS threads."""
    def start(name, *options, environ=None):
        folder = EXAMPLES / name
        if request.param == 'fibers':
            return server(None, '--ini', str(folder / 'uwsgi.ini'), *options, environ=environ)
        application = ['--wsgi-file', str(folder / 'app.py')]
        if (folder / 'manage.py').exists():
            application = ['--chdir', str(folder), '--module', 'mysite.wsgi']
        return threaded_server(None, *application, threads=COUNT + 5, environ=environ)
    return start


on_fibers = pytest.mark.parametrize('start', ['fibers'], indirect=True)


@contextlib.contextmanager
def asked(running, count, request):
    """So many connections on which that was sent."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(running.connect()) for _ in range(count)]
        for connection in connections:
            connection.sendall(request)
        yield connections


def read_until(connection, end):
    received = b''
    while not received.endswith(end):
        chunk = connection.recv(1000)
        assert chunk, received
        received += chunk
    return received


# --- Flask ----------------------------------------------------------------------------------------

@pytest.mark.smoke
def test_flask_requests_that_fetch_overlap(start, upstream):
    running = start('flask', environ={'SERVICES': f'http://127.0.0.1:{upstream.port}/page'})
    answers, seconds = ask_at_once(running, '/fetch', COUNT)
    assert answers == ['/page'] * COUNT
    assert_far_below_serial(seconds, COUNT, DELAY_S)


@on_fibers
def test_flask_keeps_a_session_and_says_when_the_upstream_is_down(start):
    running = start('flask', environ={'SERVICES': f'http://127.0.0.1:{free_port()}/'})
    assert running.get('/sleep')[2] == b'slept\n'
    _, headers, body = running.get('/')
    assert b'1 time.' in body
    assert b'2 times.' in running.get('/', headers={'Cookie': headers['Set-Cookie'].split(';')[0]})[2]
    assert running.get('/fetch')[0] == 502


# --- Django ---------------------------------------------------------------------------------------

@pytest.fixture
def database(postgres):
    """A new database and its tables; the environment that names it."""
    postgres.query('drop database if exists mysite with (force)')
    postgres.query('create database mysite')
    environ = {'PGHOST': '127.0.0.1', 'PGPORT': str(postgres.port), 'PGUSER': 'app', 'PGDATABASE': 'mysite'}
    subprocess.run([PYTHON, EXAMPLES / 'django_postgresql' / 'manage.py', 'migrate'], check=True, capture_output=True,
                   env={**os.environ, **environ, 'PYTHONDONTWRITEBYTECODE': '1'})
    return environ


def sessions(postgres):
    return postgres.query("select count(*) from pg_stat_activity where datname = 'mysite'")[0][0]


@pytest.mark.smoke
def test_django_requests_that_query_overlap(start, postgres, database):
    running = start('django_postgresql', environ=database)
    answers, seconds = ask_at_once(running, '/slow', COUNT)
    assert len({answer for answer in answers if answer.startswith('waited in session ')}) == COUNT
    assert_far_below_serial(seconds, COUNT, wait_s=1)
    wait_until(lambda: sessions(postgres) == 0)  # None outlives its request.


@on_fibers
def test_django_uses_its_models(start, database):
    running = start('django_postgresql', environ=database)
    ask_at_once(running, '/', COUNT)
    assert running.get('/')[2] == b'%d visits, %d in the last minute\n' % (COUNT + 1, COUNT + 1)


@on_fibers
def test_django_answers_while_the_database_is_away(start):
    running = start('django_postgresql', environ={'PGHOST': '127.0.0.1', 'PGPORT': str(free_port())})
    assert running.get('/slow')[0] == 500
    assert 'OperationalError' in running.log


def test_migrations_of_django_are_those_of_its_models(database):
    subprocess.run([PYTHON, EXAMPLES / 'django_postgresql' / 'manage.py', 'makemigrations', '--check', '--dry-run'], check=True,
                   env={**os.environ, **database})


# --- A chat by long poll --------------------------------------------------------------------------

def test_long_polls_wait_for_a_message(start):
    running = start('long_poll')
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        before = running.descriptors()
        polls = pool.submit(running.get_all, ['/?after=0'] * COUNT)
        wait_until(lambda: running.descriptors() >= before + COUNT)  # All are there; none is answered.
        said = {'number': 1, 'text': 'hello ☃'}
        assert json.loads(running.get('/', 'POST', 'hello ☃'.encode())[2]) == said
        results, seconds = polls.result(60)
    assert [json.loads(body) for _, _, body in results] == [[said]] * COUNT
    assert seconds < 20  # Untold, they would have looked after 25.


def test_long_polls_give_what_was_missed_or_nothing(start):
    running = start('long_poll', environ={'SECONDS': '0.2'})
    for number in range(1, 151):
        running.get('/', 'POST', b'm%d' % number)
    assert [message['text'] for message in json.loads(running.get('/?after=148')[2])] == ['m149', 'm150']
    assert len(json.loads(running.get('/')[2])) == 100
    assert json.loads(running.get('/?after=150')[2]) == []


@on_fibers
def test_long_polls_of_those_who_leave_end(start):
    running = start('long_poll')
    before = running.descriptors()
    with asked(running, COUNT, b'GET / HTTP/1.0\r\n\r\n'):
        wait_until(lambda: running.descriptors() >= before + COUNT)
    running.wait_for_log('GET / => generated 0 bytes', count=COUNT, timeout_s=20)  # They would have waited 25 s.


# --- Redis ----------------------------------------------------------------------------------------

EVENTS = b'GET / HTTP/1.0\r\n\r\n'


def redis_environ(port):
    return {'REDIS_URL': f'redis://127.0.0.1:{port}'}


def subscribers(redis_server):
    return redis_server.client().pubsub_numsub('news')[0][1]


def test_messages_of_redis_reach_every_stream(start, redis_server):
    running = start('redis_pubsub', environ=redis_environ(redis_server.port))
    with asked(running, COUNT, EVENTS) as streams:
        for stream in streams:
            read_until(stream, b': subscribed\n\n')
        assert running.get('/', 'POST', 'one ☃\n\nthree'.encode())[2] == b'%d are told\n' % COUNT
        for stream in streams:
            assert read_until(stream, b'three\n\n') == 'data: one ☃\ndata: \ndata: three\n\n'.encode()


@on_fibers
def test_streams_of_those_who_leave_end(start, redis_server):
    running = start('redis_pubsub', environ=redis_environ(redis_server.port))
    with asked(running, COUNT, EVENTS):
        wait_until(lambda: subscribers(redis_server) == COUNT)
    wait_until(lambda: subscribers(redis_server) == 0, timeout_s=10)  # Sooner than the stream next says something.


@on_fibers
def test_streams_end_as_redis_does(start):
    redis_server = Redis()
    running = start('redis_pubsub', environ=redis_environ(redis_server.port))
    with asked(running, 1, EVENTS) as (stream,):
        read_until(stream, b': subscribed\n\n')
        redis_server.stop()
        assert closed_by_server(stream) == b''
    with asked(running, 1, EVENTS) as (stream,):
        assert closed_by_server(stream).endswith(b'\r\n\r\nretry: 1000\n\n')
    assert running.get('/', 'POST', b'hello')[0] == 503
    assert 'Redis: ' in running.log
