"""uWSGI's python plugin where PEP 3333 says otherwise."""
import pytest

from health import closed_by_server
from overlap import wait_until

DATA = bytes(range(256)) * 1000
BODY = b'a line\n' + b'x' * 10_000 + b'\n' + b'the last, without an end'


@pytest.fixture
def start(server):
    return lambda *options, **more: server('pep3333.py', *options, **more)


@pytest.mark.smoke
def test_start_response_with_exc_info(start):
    running = start()
    status, headers, body = running.get('/exc_info_before_headers')
    assert (status, body) == (500, b'an error page') and 'X-First' not in headers
    assert running.get('/exc_info_after_headers')[2] == b'begun raised after'
    assert running.get('/exc_info_none')[2] == b'as without'
    assert 'SystemError' not in running.log


def test_start_response_is_called_once_without_exc_info(start):
    status, _, body = start().get('/twice')
    assert (status, body) == (200, b'start_response() was called before: a second call needs exc_info (PEP 3333)')


@pytest.mark.parametrize('options', [[], ['--post-buffering', '4096'], ['--post-buffering', '100000']], ids=['', 'in-file', 'in-memory'])
def test_readline_gives_no_more_than_asked(start, options):
    running = start(*options)
    for size in (1, 7, 1000, 4096, 100_000):
        _, _, answer = running.get(f'/lines?{size}', 'POST', BODY)
        sizes, _, read = answer.partition(b'\n')
        assert read == BODY
        assert [*map(int, sizes.strip(b'[]').split(b','))] == [
            part for line in BODY.splitlines(keepends=True)
            for part in [size] * (len(line) // size) + [len(line) % size] if part], size


def test_readline_and_read_go_on_where_the_other_stopped(start):
    _, _, answer = start().get('/mixed', 'POST', b'one line\ntwo\nab and\nlast line\nrest\nof it')
    assert answer == repr([b'', b'one', b' line\n', b'two\n', b'ab', b' and\n', b'last line\n', b'rest\nof it']).encode()


@pytest.mark.smoke
def test_file_wrapper_sends_what_is_left_of_a_file(start):
    running = start()
    for name, body in {'untouched': DATA, 'untouched,100': DATA, 'part_read': DATA[1000:], 'part_read,100': DATA[1000:],
                       'memory': DATA, 'memory,1000000': DATA, 'memory_part_read': DATA[1000:], 'pipe': b'through a pipe'}.items():
        status, _, got = running.get(f'/file?{name}')
        assert (name, status, got) == (name, 200, body)
    assert running.get('/were_closed')[2] == b'Memory Memory Memory'


def test_file_wrapper_of_text_ends(start):
    """It sends nothing, as any iterable of text, and the worker goes on."""
    running = start()
    assert running.get('/file?text')[2] == b''
    assert running.get('/were_closed')[2] == b'Text'


@pytest.mark.smoke
def test_head_is_answered_without_the_body(start):
    running = start()
    for path in ('/body', '/file?untouched', '/file?memory', '/exc_info_before_headers', '/no_such_path'):
        with running.connect() as connection:
            connection.sendall(b'HEAD %s HTTP/1.0\r\n\r\n' % path.encode())
            answer = closed_by_server(connection)
            assert answer.startswith(b'HTTP/1.') and answer.endswith(b'\r\n\r\n'), answer


def test_head_of_a_response_without_end(start):
    """The header comes at once, and the iteration ends with the client."""
    running = start()
    with running.connect() as connection:
        connection.sendall(b'HEAD /endless HTTP/1.0\r\n\r\n')
        assert connection.recv(1000).endswith(b'\r\n\r\n')
    wait_until(lambda: running.get('/were_closed')[2] == b'endless')
