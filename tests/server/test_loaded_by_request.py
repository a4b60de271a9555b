"""Applications that requests name: UWSGI_FILE, UWSGI_MODULE."""
import pytest

from clients import at_once, body_of, exchange
from conftest import APPS
from wire_requests import uwsgi_request

SAID = b'from a child and another'
FILE = str(APPS / 'loaded_by_request.py')


@pytest.mark.smoke
@pytest.mark.parametrize('named', [{'UWSGI_FILE': FILE}, {'UWSGI_MODULE': 'loaded_by_request', 'UWSGI_CALLABLE': 'application'}],
                         ids=['file', 'module'])
@pytest.mark.parametrize('options', [[], ['--tornado-quantum', '1']], ids=['', 'quantum'])
def test_application_is_loaded_once_by_many_first_requests(server, named, options):
    running = server(None, '--pythonpath', str(APPS), *options, protocol='uwsgi-socket', cores=60)
    request = uwsgi_request('/', **named)
    answers = at_once([lambda: body_of(exchange(running.port, request))] * 50)
    assert answers == [SAID] * 50
    assert running.log.count('loaded ') == 1
    assert body_of(exchange(running.port, request)) == SAID


def test_one_that_cannot_be_loaded_holds_up_no_other(server):
    running = server(None, '--no-default-app', protocol='uwsgi-socket', cores=20)
    broken, right = uwsgi_request('/', UWSGI_FILE='/no/such/file'), uwsgi_request('/', UWSGI_FILE=FILE, UWSGI_APPID='/right')
    answers = at_once([lambda: exchange(running.port, broken)] * 5 + [lambda: exchange(running.port, right)] * 5)
    assert all(answer.startswith(b'HTTP/1.1 500 ') for answer in answers[:5])
    assert [body_of(answer) for answer in answers[5:]] == [SAID] * 5
