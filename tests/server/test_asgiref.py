"""asgiref's async_to_sync runs on the worker's loop, by asgiref's own rules."""
import asgiref
import pytest

from overlap import ask_at_once, assert_far_below_serial

COUNT = 50


@pytest.fixture
def start(server):
    return lambda *options: server('with_asgiref.py', *options, cores=COUNT)


@pytest.mark.smoke
def test_async_to_sync_runs_on_the_workers_loop(start):
    running = start()
    assert running.get('/shared')[2] == b'True'
    answers, seconds = ask_at_once(running, '/wait', COUNT)
    assert answers == [str(n) for n in range(COUNT)]
    assert_far_below_serial(seconds, COUNT)


def test_functions_wrapped_at_import_run_on_the_workers_loop(start):
    running = start()
    answers, seconds = ask_at_once(running, '/decorated', COUNT)
    assert answers == ['True'] * COUNT
    assert_far_below_serial(seconds, COUNT)
    assert running.get('/method')[2] == b'True'


def test_functions_wrapped_at_import_keep_to_asgirefs_rules(start):
    running = start()
    assert running.get('/in_thread')[2] == b'False'
    assert running.get('/decorated')[2] == b'True'
    assert running.get('/forced')[2] == b'False'
    if tuple(map(int, asgiref.__version__.split('.')[:2])) < (3, 7):  # Later ones keep the loop of a function's first call.
        assert running.get('/in_thread')[2] == b'False'


def test_option_leaves_async_to_sync_as_it_is(start):
    running = start('--tornado-native-asgiref')
    assert running.get('/decorated')[2] == b'False'
    assert running.get('/shared')[2] == b'False'
    assert ask_at_once(running, '/comes_back', COUNT)[0] == ['[True, True, True]'] * COUNT


@pytest.mark.smoke
def test_sync_to_async_comes_back_to_the_requests_thread(start):
    running = start()
    assert ask_at_once(running, '/comes_back', COUNT)[0] == ['[True, True, True]'] * COUNT
    assert ask_at_once(running, '/apart', COUNT)[0] == ['False'] * COUNT


def test_async_views_of_flask_run_on_the_workers_loop(server):
    running = server('flask_async.py', cores=COUNT)
    for path in ('/async', '/sync'):
        answers, seconds = ask_at_once(running, path, COUNT)
        assert answers == [str(n) for n in range(COUNT)]
        assert_far_below_serial(seconds, COUNT, 0.1)


@pytest.mark.parametrize('options', [(), ('--tornado-native-asgiref',)])
def test_async_views_of_django_use_the_orm_on_their_own_session(server, postgres, options):
    running = server('django_site.py', *options, cores=COUNT, environ={'POSTGRES_PORT': str(postgres.port)})
    sessions = {tuple(answer.split()[1:]) for answer in ask_at_once(running, '/session', COUNT)[0]}
    answers, seconds = ask_at_once(running, '/async_session', COUNT)
    assert [answer.split()[:2] for answer in answers] == [['slept', str(n)] for n in range(COUNT)]
    sessions |= {tuple(answer.split()[2:]) for answer in answers}
    assert_far_below_serial(seconds, COUNT)
    assert postgres.sessions() == len(sessions)  # No thread but the requests' own has one.


def test_errors_are_the_requests_own(start):
    assert ask_at_once(start(), '/error', COUNT)[0] == [f'error {n}' for n in range(COUNT)]
