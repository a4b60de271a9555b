"""Flask and Bottle apps, unchanged; Django has a file of its own."""
import pytest

from overlap import REQUESTS, ask_at_once, assert_overlap

FLASK = {
    '/fetch': lambda n: f'{n} {n} {n} /{n} True',
    '/async': lambda n: f'{n} {n}',
    '/stream': lambda n: ''.join(f'{n}.{part} ' for part in range(4)),
    '/error': lambda n: f'{n} {n}',
}
BOTTLE = {
    '/wait': lambda n: f'{n} {n} {n}',
    '/abort': lambda n: f'{n} aborted',
}


@pytest.fixture
def environ(upstream):
    return {'URL': f'http://127.0.0.1:{upstream.port}'}


@pytest.mark.parametrize('path', FLASK)
@pytest.mark.smoke
def test_views_of_flask_overlap(server, environ, path):
    running = server('with_flask.py', cores=REQUESTS, environ=environ)
    assert_overlap(running, path, FLASK[path])


def test_an_event_loop_run_in_a_view_suspends_only_its_request(server, environ):
    running = server('with_flask.py', cores=20, environ=environ)
    answers, seconds = ask_at_once(running, '/run', 20)
    assert answers == [f'{n} {n}' for n in range(20)]
    assert seconds < 20 * 0.2 / 2


@pytest.mark.parametrize('path', BOTTLE)
def test_handlers_of_bottle_overlap(server, path):
    running = server('with_bottle.py', cores=REQUESTS)
    assert_overlap(running, path, BOTTLE[path])


def test_answers_are_those_of_threads(threaded_server, environ):
    flask = threaded_server('with_flask.py', environ=environ)
    for path, answer in FLASK.items():
        assert ask_at_once(flask, path, 8)[0] == [answer(n) for n in range(8)]
    bottle = threaded_server('with_bottle.py')
    for path, answer in BOTTLE.items():
        assert ask_at_once(bottle, path, 8)[0] == [answer(n) for n in range(8)]
