"""A request that takes longer than it may is ended where it waits, whatever it waits for."""
import socket
import time

import pytest

from conftest import OTHER_PYTHON, ask, python_version
from health import closed_by_server

SOON = ('--tornado-request-timeout', '0.3')
# Waits that a thread of CPython's could not be woken from, and each way to wait for one.
KINDS = ['recv', 'timed_recv', 'file_of_socket', 'send', 'accept', 'pipe', 'select', 'poll', 'selector', 'sleep', 'lock',
         'timed_lock', 'rlock', 'process_lock', 'event', 'condition', 'queue', 'simple_queue', 'thread_join', 'thread_pool',
         'subprocess', 'communicate', 'requests', 'urllib_tls', 'asyncio_run', 'await', 'await_timed', 'gather', 'await_pool', 'to_thread',
         'fetch', 'suspend', 'wait_fd']
if OTHER_PYTHON:
    KINDS.remove('requests')  # It has CPython's own library alone.

# Where CPython makes an OSError of what such a call returns. 3.8 has no slot for calls of a class, by which
# the engine has it make a RequestTimeout (interruption.cc): the OSError it is, ECANCELED, comes out.
BLOCKING_CALLS = {'recv', 'timed_recv', 'file_of_socket', 'send', 'accept', 'pipe', 'select', 'poll', 'selector', 'sleep',
                  'process_lock', 'subprocess', 'communicate', 'urllib_tls', 'asyncio_run'}
OSERROR_STAYS = python_version() < (3, 9)
needs_its_type = pytest.mark.skipif(OSERROR_STAYS, reason='CPython 3.8 lets out the OSError(ECANCELED) of a blocking call as it is')


@pytest.fixture
def timed(server, upstream):
    def start(*options, environ=None, **more):
        return server('interrupted.py', *(options or SOON), environ={'UPSTREAM_PORT': str(upstream.port), **(environ or {})}, **more)
    return start


@pytest.mark.parametrize('kind', KINDS)
def test_request_is_told_in_whatever_wait_it_is(timed, kind):
    running = timed()
    status, _, body = running.get(f'/caught/{kind}')
    told = f'RequestTimeout: GET /caught/{kind} has taken longer than 0.3 s'
    if OSERROR_STAYS and kind in BLOCKING_CALLS:
        told = "instead: OSError(125, 'Operation canceled')"
    assert (status, body.decode()) == (200, told)
    assert running.get('/quick')[2] == b'quick'


@pytest.mark.smoke
def test_what_it_does_not_catch_is_a_504(timed):
    running = timed()
    answers, seconds = running.get_all([f'/{kind}' for kind in KINDS])
    assert [answer[0] for answer in answers] == [504] * len(KINDS)
    assert {answer[2] for answer in answers} == {b'The request took too long.'}
    assert running.get('/quick')[2] == b'quick'
    told = 'OSError: [Errno 125] Operation canceled' if OSERROR_STAYS else 'uwsgi_tornado.RequestTimeout: GET /sleep has taken longer'
    assert told in running.log
    assert "time.sleep(LONG_S)" in running.log  # Where it was.


def test_head_request_that_is_ended_has_no_body(timed):
    running = timed()
    with running.connect() as connection:
        connection.sendall(b'HEAD /sleep HTTP/1.0\r\n\r\n')
        answer = closed_by_server(connection)
        assert answer.startswith(b'HTTP/1.0 504 ') and answer.endswith(b'\r\n\r\n'), answer


def test_wait_for_a_uwsgi_signal(timed):
    running = timed(*SOON, '--master')
    assert running.get('/caught/signal_wait')[2].startswith(b'RequestTimeout: ')


def test_what_was_cancelled_for_it_says_nothing(timed):
    running = timed()
    assert running.get('/caught/gather')[2].startswith(b'RequestTimeout: ')
    assert running.get('/caught/await')[2].startswith(b'RequestTimeout: ')
    assert running.get('/collect')[2] == b'collected'
    assert 'never retrieved' not in running.log and 'CancelledError' not in running.log


def test_classes_of_oserror_are_made_as_ever(server, threaded_server):
    assert server('oserrors.py').get('/')[2] == threaded_server('oserrors.py').get('/')[2]


def test_nobody_else_is_ended(timed):
    running = timed()
    answers, _ = running.get_all(['/sleep'] * 20 + ['/quick'] * 20)
    assert [answer[0] for answer in answers] == [504] * 20 + [200] * 20


@pytest.mark.parametrize('path', ['/caught/input', '/caught/input_line'])
def test_body_that_does_not_come(timed, path):
    running = timed()
    with running.connect() as client:
        client.sendall(f'POST {path} HTTP/1.0\r\nContent-Length: 10\r\n\r\nabc'.encode())
        answer = client.makefile('rb').read()
    assert b' 200 ' in answer and f'RequestTimeout: POST {path}'.encode() in answer


def test_reader_that_does_not_read(timed):
    running = timed()
    with running.connect() as client:
        client.sendall(b'GET /big HTTP/1.0\r\n\r\n')
        running.wait_for_log('GET /big')  # It is over, and nothing has been read.
    assert running.get('/quick')[2] == b'quick'


def test_stream_that_waits_before_its_first_byte_is_a_504_and_closed(timed):
    running = timed()
    assert running.get('/stream_waiting')[0] == 504
    assert 'app: closed' in running.log


def test_stream_that_has_begun_is_cut_and_closed(timed):
    running = timed()
    with running.connect() as client:
        client.sendall(b'GET /stream HTTP/1.0\r\n\r\n')
        assert client.makefile('rb').read().endswith(b'\r\n\r\nbegun\n')
    running.wait_for_log('app: closed')


def test_generator_that_waits_by_a_yield(timed):
    running = timed()
    with running.connect() as client:
        client.sendall(b'GET /yields HTTP/1.0\r\n\r\n')
        assert client.makefile('rb').read().endswith(b'\r\n\r\nbegun\n')
    running.wait_for_log('app: generator ended')
    assert 'app: in the generator: RequestTimeout' in running.log


@needs_its_type
def test_told_again_at_each_wait(timed):
    assert timed().get('/swallows')[2].decode() == 'sleep 0.3\nrecv 0.0\nawait_timed 0.0\nevent 1.0\nsleep 0.0'


@needs_its_type
def test_clean_up_may_take_locks(timed):
    assert timed().get('/cleans_up')[2] == b'had the lock'


@needs_its_type
def test_shield_keeps_it_off(timed):
    assert timed().get('/shielded')[2] == b'through, then told'


@pytest.mark.skipif(python_version() < (3, 9), reason='the lock that forks take is new in CPython 3.9: concurrent.futures.thread has it')
def test_fork_is_shielded_with_the_locks_it_takes(timed):
    running = timed('--tornado-request-timeout', '30')
    with running.connect() as holder:
        holder.sendall(b'GET /holds_fork_lock HTTP/1.0\r\n\r\n')
        running.wait_for_log('app: has the lock')
        assert running.get('/forks_late')[2] == b'forked, then told'
        assert holder.makefile('rb').read().endswith(b'had the lock')
    assert 'Exception ignored' not in running.log


@pytest.mark.skipif(bool(OTHER_PYTHON), reason='another Python than the distribution\'s has no psycopg2')
def test_c_driver_makes_its_own_error_and_the_client_gets_504(timed, postgres):
    running = timed(environ={'DSN': postgres.dsn})
    assert running.get('/psycopg2')[0] == 504
    assert running.get('/caught/psycopg2')[2].startswith(b'instead: DatabaseError')


@needs_its_type
def test_application_may_change_its_timeout(timed):
    running = timed('--tornado-request-timeout', '1')
    answers, _ = running.get_all(['/own?0.2', '/own?30', '/own?0'])
    assert [answer[2] for answer in answers] == [b'timed out', b'slept on', b'slept on']


@needs_its_type
def test_route_sets_the_timeout(timed):
    running = timed('--route', '^/caught addvar:uwsgi_tornado.timeout=0.25')
    assert running.get('/caught/sleep')[2] == b'RequestTimeout: GET /caught/sleep has taken longer than 0.25 s'


def test_route_lifts_the_timeout(timed):
    running = timed(*SOON, '--route', '^/own addvar:uwsgi_tornado.timeout=0')
    assert running.get('/own?0')[2] == b'slept on'


def test_timeout_that_is_no_number_is_told(timed):
    running = timed('--route', '^/quick addvar:uwsgi_tornado.timeout=soon')
    assert running.get('/quick')[0] == 200
    assert "tornado: GET /quick: environ['uwsgi_tornado.timeout'] is not a number of seconds and is ignored" in running.log


def test_kept_connection_has_a_deadline_for_each_request(timed):
    running = timed(protocol='http11-socket')
    with running.connect() as client:
        for _ in range(3):
            assert ask(client, '/quick') == (200, b'quick')
            time.sleep(0.2)  # Between requests no time of a request's passes: two of these are beyond it.
        assert ask(client, '/sleep')[0] == 504


def test_worker_that_ends_does_not_leave_waiting_requests_without_a_word(timed):
    running = timed('--master', '--worker-reload-mercy', '5')
    with running.connect() as says, running.connect() as waits:
        says.sendall(b'GET /caught/sleep HTTP/1.0\r\n\r\n')
        waits.sendall(b'GET /sleep HTTP/1.0\r\n\r\n')
        running.wait_for_log('app: waits in sleep')
        running.get('/quick')  # The first has come, too.
        assert running.drain() == 0
        told = b"instead: OSError(125, 'Operation canceled')" if OSERROR_STAYS else b'RequestTimeout: GET /caught/sleep: the worker ends'
        assert says.makefile('rb').read().endswith(told)
        assert b' 503 ' in waits.makefile('rb').readline()
    assert 'requests unfinished' not in running.log
