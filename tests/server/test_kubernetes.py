"""examples/kubernetes: the manifest is one that the Kubernetes client knows, and its times and paths are those of uwsgi.ini."""
import re

import kubernetes.client
import pytest
import yaml

from conftest import ROOT

EXAMPLE = ROOT / 'examples' / 'kubernetes'
KINDS = {'Deployment': 'V1Deployment', 'Service': 'V1Service', 'PodDisruptionBudget': 'V1PodDisruptionBudget'}
MANIFESTS = {manifest['kind']: manifest for manifest in yaml.safe_load_all((EXAMPLE / 'app.yaml').read_text())}
INI = dict(re.findall(r'^([\w-]+) = (.*)$', (EXAMPLE / 'uwsgi.ini').read_text(), re.M))


def unknown_keys(given, model, where):
    """Keys that the model has no attribute for, also in what it holds."""
    kind = getattr(kubernetes.client, model, None)
    if kind is None or not isinstance(given, dict):
        return []
    types = {kind.attribute_map[name]: type_name for name, type_name in kind.openapi_types.items()}
    unknown = [f'{where}.{key}' for key in given if key not in types]
    for key, value in given.items():
        held = re.sub(r'^list\[(.*)\]$', r'\1', types.get(key, ''))
        for one in value if isinstance(value, list) else [value]:
            unknown += unknown_keys(one, held, f'{where}.{key}')
    return unknown


@pytest.mark.parametrize('kind', KINDS)
def test_manifest_has_keys_that_kubernetes_knows(kind):
    assert unknown_keys(MANIFESTS[kind], KINDS[kind], kind) == []


def test_wrong_keys_are_seen():
    """The check itself."""
    spec = {'spec': {'template': {'spec': {'containers': [{'readinessProb': {}}]}}}}
    assert unknown_keys(spec, 'V1Deployment', 'it') == ['it.spec.template.spec.containers.readinessProb']


def test_times_grow_from_the_inside_to_the_outside():
    pod = MANIFESTS['Deployment']['spec']['template']['spec']
    pause = int(pod['containers'][0]['lifecycle']['preStop']['exec']['command'][1])
    assert int(INI['tornado-request-timeout']) < int(INI['worker-reload-mercy'])
    assert pause + int(INI['worker-reload-mercy']) < pod['terminationGracePeriodSeconds']


def test_paths_and_ports_are_served(server, tmp_path):
    without_socket = (EXAMPLE / 'uwsgi.ini').read_text().replace(f'http-socket = {INI["http-socket"]}\n', '')
    (tmp_path / 'uwsgi.ini').write_text(without_socket.replace('%d', f'{EXAMPLE}/'))
    running = server(None, '--master', '--ini', str(tmp_path / 'uwsgi.ini'))
    pod = MANIFESTS['Deployment']['spec']['template']
    port = int(INI['http-socket'].rpartition(':')[2])
    container = pod['spec']['containers'][0]
    assert container['ports'][0]['containerPort'] == port == int(pod['metadata']['annotations']['prometheus.io/port'])
    paths = {container[probe]['httpGet']['path'] for probe in ('readinessProbe', 'livenessProbe', 'startupProbe')}
    for path in paths | {pod['metadata']['annotations']['prometheus.io/path']}:
        assert running.get(path)[0] == 200
