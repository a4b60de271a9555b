"""--tornado-metrics: the metrics of all workers as text for Prometheus, read by Prometheus' own parser."""
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import ROOT
from overlap import wait_until

PATH = '/metrics'


@pytest.fixture
def start(server):
    return lambda *options, **more: server('metrics.py', '--tornado-metrics', PATH, *options, **more)


def shown(running):
    """{name: {worker: value}}"""
    status, headers, body = running.get(PATH)
    assert status == 200 and headers['Content-Type'].startswith('text/plain; version=0.0.4')
    assert int(headers['Content-Length']) == len(body)
    families = list(text_string_to_metric_families(body.decode()))
    assert all(family.documentation and family.type in ('counter', 'gauge') for family in families)
    return {sample.name: {one.labels['worker']: one.value for one in family.samples}
            for family in families for sample in family.samples}


@pytest.mark.smoke
def test_workers_are_shown(start):
    running = start('--master', '--processes', '2', cores=20)
    wait_until(lambda: set(shown(running)['uwsgi_tornado_cores_free'].values()) & {19.0, 20.0} != set())
    for _ in range(5):
        running.get('/quick')
    wait_until(lambda: sum(shown(running)['uwsgi_tornado_requests_total'].values()) >= 5)
    assert set(shown(running)['uwsgi_tornado_switches_total']) == {'1', '2'}


def test_one_worker_without_a_master(start):
    running = start()
    wait_until(lambda: shown(running)['uwsgi_tornado_switches_total']['1'] > 0)


def test_application_is_not_asked_for_the_path_alone(start):
    running = start('--mount', f'/sub={ROOT}/tests/apps/metrics.py', '--manage-script-name')
    assert running.get('/quick')[0] == 200
    assert running.get('/sub' + PATH)[2] != running.get(PATH)[2]


def test_head_has_no_body(start):
    running = start()
    status, headers, body = running.get(PATH, method='HEAD')
    assert status == 200 and body == b'' and int(headers['Content-Length']) > 100


def test_many_ask_at_once(start):
    results, _ = start(cores=50).get_all([PATH] * 50)
    assert {status for status, _, _ in results} == {200}
