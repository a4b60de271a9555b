"""Metrics, the stats server, alarms and log formats while requests wait."""
import contextlib
import json
import re

import pytest

import clients
from conftest import EMBEDDED, free_port
from health import closed_by_server
from overlap import wait_until

LOGFILE = [] if EMBEDDED else ['--plugin', 'logfile']
REQUESTS = 50


@pytest.fixture
def start(server):
    return lambda *options, cores=REQUESTS + 25: server('observed.py', *options, cores=cores)


def test_metrics_of_requests_that_wait(start):
    running = start('--enable-metrics', '--metric', 'name=served', '--metric', 'name=double,type=absolute', '--master')
    results, _ = running.get_all([f'/count?{n}' for n in range(REQUESTS)] + ['/quick'] * 20)
    assert all(1 <= int(body) <= REQUESTS for _, _, body in results[:REQUESTS])
    assert running.get('/metric?served')[2] == b'%d' % REQUESTS
    assert running.get('/metric?worker.1.core.0.requests')[0] == 200


def busy_cores(port):
    """The variables of the requests that the stats server shows."""
    cores = json.loads(clients.exchange(port, b''))['workers'][0]['cores']
    return [dict(line.split('=', 1) for line in core['vars'] if '=' in line) for core in cores if core['in_request']]


@pytest.mark.smoke
def test_stats_server_shows_the_requests_that_wait(start):
    port = free_port()
    running = start('--stats', f'127.0.0.1:{port}', '--master')
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(running.connect()) for _ in range(REQUESTS)]
        for number, client in enumerate(waiting):
            client.sendall(b'GET /hold?%d HTTP/1.0\r\n\r\n' % number)
        assert [r[2] for r in running.get_all(['/quick'] * 20)[0]] == [b'quick'] * 20
        busy = busy_cores(port)
        while len(busy) > REQUESTS:  # The last of the quick ones is answered, but not over.
            busy = busy_cores(port)
        assert sorted(core.get('QUERY_STRING') for core in busy) == sorted(str(n) for n in range(REQUESTS))
        running.get('/release')
        assert all(closed_by_server(client).endswith(b'released') for client in waiting)


LOG_FORMAT = 'logged %(uri) core %(core) switches %(switches) vars %(var.QUERY_STRING) %(before) %(after) size %(rsize)'


def test_log_lines_tell_of_their_own_request(start):
    running = start('--log-format', LOG_FORMAT)
    results, _ = running.get_all([f'/log?{n}' for n in range(REQUESTS)])
    running.wait_for_log('logged /log', count=REQUESTS)
    lines = re.findall(r'logged (/log\?\d+) core (\d+) switches \d+ vars (\d+) (\d+) (\d+) size (\d+)', running.log)
    assert sorted(lines) == sorted(
        (f'/log?{n}', core.decode(), str(n), str(n), str(n), str(len(core))) for n, (_, _, core) in enumerate(results))
    assert len({core for _, core, *_ in lines}) == REQUESTS


def test_logs_by_route_and_to_a_file(start, tmp_path):
    """The master writes what the workers log."""
    log = tmp_path / 'requests.log'
    running = start('--master', '--log-master', *LOGFILE, '--req-logger', f'file:{log}', '--route', '^/quick donotlog:')
    results, _ = running.get_all([f'/log?{n}' for n in range(REQUESTS)] + ['/quick'] * 20)
    assert [r[0] for r in results] == [200] * (REQUESTS + 20)
    running.get('/say?done')
    running.wait_for_log('said done')
    running.drain()
    assert log.read_text().count('GET /log?') == REQUESTS and 'GET /quick' not in log.read_text()


def test_alarms(start, tmp_path):
    """Raised by requests and by lines of the log. An alarm that is the same as the one before is left out."""
    rung = tmp_path / 'rung'
    running = start('--master', '--alarm', f'bell cmd:echo $(cat) >> {rung}', '--alarm-freq', '0',
                    '--alarm', 'shout log:', '--log-alarm', 'shout ^said fire')
    results, _ = running.get_all([f'/alarm?{n}' for n in range(REQUESTS)] + ['/quick'] * 20)
    assert [body for _, _, body in results] == [b'rung'] * REQUESTS + [b'quick'] * 20
    running.get('/say?fire')
    running.wait_for_log(r'ALARM: said fire')
    # A command each, one after the other.
    wait_until(lambda: rung.exists() and rung.read_text().count('\n') >= REQUESTS)
    running.drain()
    assert sorted(rung.read_text().split('\n')) == sorted([f'rung by {n}' for n in range(REQUESTS)] + [''])
