"""uwsgi_tornado.IOLoop in a worker: the worker's own loop, from the import on, for requests and the hub."""
import ast

import pytest


@pytest.fixture
def start(server):
    return lambda *options, **more: server('io_loop_face.py', *options, **more)


def ask(running, path):
    status, _, body = running.get(path)
    assert status == 200, running.log
    return ast.literal_eval(body.decode())


@pytest.mark.smoke
@pytest.mark.parametrize('options', [[], ['--lazy-apps'], ['--master'], ['--master', '--lazy-apps']])
def test_what_the_import_added_runs_in_the_worker(start, options):
    running = start(*options)
    ask(running, '/timer?0.05')
    assert ask(running, '/since_import') == [True, 'timeout', True]


def test_each_worker_runs_what_the_master_imported(start):
    running = start('--master', '--processes', '2')
    ticking = {}
    while len(ticking) < 2:  # Two workers that wait for 0.1 s each, of two requests at once.
        results, _ = running.get_all(['/sleep?0.1'] * 4 + ['/pid'] * 4)
        ticking.update(ast.literal_eval(body.decode()) for _, _, body in results[4:])
    assert all(ticking.values())


@pytest.mark.smoke
def test_instance_is_the_workers_loop_wherever_it_is_asked(start):
    running = start()
    assert ask(running, '/same') == (True,) * 7
    assert ask(running, '/hub') == (True, True)
    assert ask(running, '/thread') is True


def test_timers_of_requests_fire_and_are_removed(start):
    results, seconds = start().get_all(['/timer?0.1'] * 40)
    assert [body for _, _, body in results] == [b"['fired']"] * 40
    assert seconds < 40 * 0.1 / 5


def test_handlers_of_raw_sockets_run_on_the_hub(start):
    running = start()
    before = running.descriptors()
    results, _ = running.get_all(['/sockets', '/writable'] * 15)
    assert [ast.literal_eval(body.decode()) for _, _, body in results] == \
        [[(True, 1, b'one'), (True, 1, b'two')], [(True, 4)]] * 15
    assert running.descriptors() <= before + 3


def test_executors_and_futures(start):
    results, _ = start().get_all(['/executor'] * 20)
    assert [body for _, _, body in results] == [b'[42]'] * 20


def test_run_sync_suspends_the_request_alone(start):
    results, seconds = start().get_all(['/run_sync?0.1'] * 40)
    assert [ast.literal_eval(body.decode()) for _, _, body in results] == \
        [[True, 'Operation timed out after 0.01 seconds']] * 40
    assert seconds < 40 * 0.1 / 3


def test_start_stop_and_close_say_that_uwsgi_runs_it(start):
    said = ask(start(), '/refusals')
    assert len(said) == 6 and all(text.startswith('uWSGI ') for text in said)
    assert 'do not start it' in said[0]


def test_exceptions_of_callbacks_are_logged_and_the_worker_serves_on(start):
    running = start()
    assert ask(running, '/failing') == 'served'
    running.wait_for_log('ValueError: of a callback')
    running.wait_for_log("KeyError: 'of a coroutine'")
    assert running.log.count('Exception in callback functools.partial(<function failing') == 2
    assert ask(running, '/hub') == (True, True)


def test_periodic_callbacks_come_while_requests_are_served(start):
    running = start()
    results, _ = running.get_all(['/sleep?0.2'] * 40)
    for ticks, threads in [ast.literal_eval(body.decode()) for _, _, body in results]:
        assert ticks > 5 and threads == 1  # 40 at full pace.
    assert ask(running, '/stop_periodic') == (False, 0)


def test_a_worker_ends_with_timers_and_handlers_left(start):
    running = start()
    for _ in range(3):
        assert ask(running, '/leave') == 'left'
    running.drain()
    assert 'Traceback' not in running.log


def test_debug_mode_of_asyncio_lets_requests_in(start):
    running = start(environ={'PYTHONASYNCIODEBUG': '1'})
    assert ask(running, '/timer?0.01') == ['fired']
    assert ask(running, '/sockets') == [(True, 1, b'one'), (True, 1, b'two')]
    assert ask(running, '/run_sync?0.01') == [True, 'Operation timed out after 0.01 seconds']
