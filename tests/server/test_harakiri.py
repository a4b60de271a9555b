"""--harakiri and its kin while requests run at once: each has its own deadline."""
import threading

import pytest

from conftest import EMBEDDED


INTERFACES = pytest.mark.parametrize('app', ['background.py', 'operated_asgi.py'], ids=['wsgi', 'asgi'])


@pytest.fixture
def start(server):
    return lambda *options, app='background.py': server(app, *([] if EMBEDDED else ['--plugin', 'spooler']), '--spooler', '.',
                                   '--master', *options)


def ask_until(running, pattern, path='/sleep?0.05'):
    """Asks for short requests, one after another, until the log has the pattern."""
    over = threading.Event()

    def ask():
        while not over.is_set():
            try:
                running.get(path)
            except OSError:
                pass  # The worker has been killed; the next one serves.

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        running.wait_for_log(pattern, timeout_s=20)
    finally:
        over.set()
        asking.join()


STUCK = {
    'harakiri': (['--harakiri', '1'], '/sleep?60'),
    'route': (['--route', '^/sleep$ goto:slow', '--route-run', 'goto:end', '--route-label', 'slow',
               '--route-if', 'equal:${QUERY_STRING};60 harakiri:1', '--route-label', 'end'], '/sleep?60'),
    'set_user_harakiri': ([], '/set_user_harakiri?1'),
}


@pytest.mark.smoke
@INTERFACES
@pytest.mark.parametrize('how', STUCK)
def test_stuck_request_is_ended_though_others_begin_and_end(start, how, app):
    options, path = STUCK[how]
    running = start(*options, app=app)
    with running.connect() as stuck:
        stuck.sendall(b'GET %s HTTP/1.0\r\n\r\n' % path.encode())
        ask_until(running, 'HARAKIRI ON WORKER 1')
        assert stuck.recv(100) == b''
    running.wait_for_log('Respawned uWSGI worker 1')
    assert running.get('/quick')[2] == b'quick'


@INTERFACES
def test_requests_in_time_are_left_alone(start, app):
    """Together they take longer than one may."""
    running = start('--harakiri', '2', app=app)
    for _ in range(5):
        results, _ = running.get_all(['/sleep?0.5'] * 30 + ['/user_harakiri_in_time?0.1'] * 10)
        assert [body for _, _, body in results] == [b'slept'] * 30 + [b'in time'] * 10
    assert 'HARAKIRI ON' not in running.log
