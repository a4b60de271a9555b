"""Where a request's time goes: log variables, and the header Server-Timing."""
import re

import pytest

LOG = ['--log-format', 'timed %(uri) queued %(tornado_queued) ran %(tornado_ran) waited %(tornado_waited) for %(tornado_waited_for)']
LINE = r'timed /(\w+)\S* queued ([\d.]+) ran ([\d.]+) waited ([\d.]+) for (\S+)'
TIMING = r'queue;dur=([\d.]+), run;dur=([\d.]+), wait;dur=([\d.]+)(?:;desc="(\w+)")?'


def logged(running, count):
    """By path: what it was queued, ran and waited, in ms, and for what."""
    running.wait_for_log(LINE, count=count)
    return {path: (float(queued), float(ran), float(waited), what)
            for path, queued, ran, waited, what in re.findall(LINE, running.log)}


@pytest.mark.smoke
def test_log_tells_what_a_request_waited_for(server):
    running = server('timed.py', *LOG)
    running.get_all(['/sleep?0.3', '/locked?0.2', '/quick'])
    times = logged(running, 3)
    # A sleep ends at a time that was read before the wait began, so the wait alone may be shorter.
    assert sum(times['sleep'][1:3]) >= 300 and times['sleep'][3] == 'sleep' and times['sleep'][1] < 250
    assert times['locked'][2] >= 190 and times['locked'][3] == 'lock'
    assert times['quick'][2] < 200
    assert all(0 <= queued < 1000 for queued, _, _, _ in times.values())


def test_requests_that_compute_wait_for_their_turn(server):
    running = server('timed.py', *LOG)
    running.get_all(['/compute?1'] * 3)
    running.wait_for_log(LINE, count=3)
    rows = [(float(ran), float(waited), what) for _, _, ran, waited, what in re.findall(LINE, running.log)]
    # Each ends when the worker's thread has used a second since it began, whichever request used them.
    assert all(ran > 0 and ran + waited >= 1000 for ran, waited, _ in rows) and sum(ran for ran, _, _ in rows) >= 900
    assert max(waited for _, waited, _ in rows) > 100 and {what for _, _, what in rows} == {'turn'}


def test_queued_is_how_long_the_header_took(server):
    running = server('timed.py', *LOG)
    with running.connect() as client:
        client.sendall(b'GET /quick HTTP/1.0\r\n')
        running.get('/sleep?0.3')
        client.sendall(b'\r\n')
        client.recv(1000)
    assert logged(running, 2)['quick'][0] >= 300


@pytest.mark.parametrize('protocol', ['http-socket', 'http11-socket'])
def test_each_request_of_a_connection_begins_anew(server, protocol):
    running = server('timed.py', *LOG, protocol=protocol, cores=2)
    for path in ('/sleep?0.3', '/quick'):
        running.get(path)
    assert logged(running, 2)['quick'][2] < 200


def timing(headers):
    queued, ran, waited, what = re.fullmatch(TIMING, headers['Server-Timing']).groups()
    return float(queued), float(ran), float(waited), what


def test_server_timing_tells_what_was_before_the_header(server):
    running = server('timed.py', '--tornado-server-timing')
    _, headers, body = running.get('/sleep?0.3')
    queued, ran, waited, what = timing(headers)
    assert body == b'done' and ran + waited >= 300 and what == 'sleep' and ran < 250 and queued < 1000
    _, headers, body = running.get('/sleep_after_header?0.3')
    assert body == b'begun done' and timing(headers)[2] < 200


def test_responses_have_no_such_header_unasked(server):
    assert 'Server-Timing' not in server('timed.py', *LOG).get('/quick')[1]
