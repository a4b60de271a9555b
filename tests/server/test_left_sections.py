"""A section that a request leaves open ends with the request: the next one on the same core is free of it."""
import pytest

REFUSED = 'await_() in a no_suspend() section would wait for ever: the event loop cannot run meanwhile'


@pytest.fixture
def ask(server):
    running = server('left_sections.py', '--tornado-request-timeout', '1', cores=2)  # The one that is free longest is taken last.

    def answer(path):
        status, _, body = running.get(path)
        return body.decode() if status == 200 else status

    return answer


def test_no_suspend_left_open_ends_with_its_request(ask):
    assert ask('/leave_no_suspend') == REFUSED
    assert ask('/wait') == 'waited'


def test_no_suspend_of_an_earlier_request_is_not_ended_by_another(ask):
    ask('/leave_no_suspend')
    assert ask('/close') == f'a uwsgi_tornado.no_suspend() section must end in the request that began it\n{REFUSED}'
    assert ask('/wait') == 'waited'


def test_no_suspend_left_open_ends_with_its_spawned_function(ask):
    assert ask('/in_spawned') == 'waited'


def test_shield_left_open_ends_with_its_request(ask):
    ask('/leave_shield')
    assert ask('/wait_long?8') == 504
