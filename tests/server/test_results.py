"""Whatever a WSGI application returns, the client gets its bytes and close() is called."""
import pytest

BODIES = {
    'list_of_one': b'one',
    'tuple_of_one': b'one',
    'list_of_two': b'one two',
    'empty_list': b'',
    'list_of_nothing': b'',
    'list_with_close': b'one',
    'bytes_of_its_own': b'one',
    'generator': b'one two',
    'iterator': b'one two',
}


@pytest.mark.smoke
@pytest.mark.parametrize('options', [[], ['--wsgi-strict'], ['--wsgi-env-behaviour', 'holy']], ids=['', 'strict', 'holy'])
def test_body_is_what_was_returned(server, options):
    running = server('results.py', *options)
    for _ in range(2):  # The second finds what the first has left.
        for path, body in BODIES.items():
            status, _, got = running.get(f'/{path}')
            assert (path, status, got) == (path, 200, body)
    assert running.get('/closed')[2] == b'list generator list generator'


def test_bare_bytes_are_a_body(server):
    assert server('results.py').get('/bare_bytes')[2] == b'one'


def test_results_of_many_requests_are_not_mixed(server):
    running = server('results.py')
    paths = list(BODIES) * 8
    results, _ = running.get_all([f'/{path}' for path in paths])
    assert [(status, body) for status, _, body in results] == [(200, BODIES[path]) for path in paths]
