"""What a callback of the worker's loop writes goes out together, but no later than the callback waits."""

RESULTS = {
    'together': (True, b'headbody'),
    'receives': b'headbody',
    'receives_without_timeout': b'headbody',
    'selects': True,
    'sleeps': 8,
    'waits_for_a_fiber': (True, [b'headbody', b'from a fiber']),
    'waits_and_writes_on': (8, b'headbody', b'headbody'),
    'has_the_error_in_a_wait': True,
    'on_its_fiber': (b'head', b'body')}


def test_a_callback_that_waits_keeps_nothing(server):
    running = server('kept_writes.py', cores=5)
    assert {act: running.get(f'/{act}')[2].decode() for act in RESULTS} == {act: repr(result) for act, result in RESULTS.items()}
