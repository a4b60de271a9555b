"""Nodes of examples/cluster, each with an address of its own: in a network namespace where the machine allows that, else
on a loopback address."""
import contextlib
import ipaddress
import os
import random
import re
import signal
import socket
import subprocess
import time

from conftest import ROOT, command, plugins
from deployed import Program, sanitized

EXAMPLE = ROOT / 'examples' / 'cluster'
COUNT = 3


def run(*command):
    subprocess.run(command, check=True, capture_output=True)


def some_block(of):
    """The first address of one that nobody else uses now, in all likelihood: ports are those of the example, and tests may run twice."""
    network = ipaddress.ip_network(of)
    return network[4 * random.SystemRandom().randrange(1, network.num_addresses // 4 - COUNT)]


class Namespaces:
    """A pair of devices to a namespace for each node; the router is outside."""

    def __init__(self):
        self.block = some_block('198.18.0.0/15')  # For tests of networks.
        self.tag = f'ut{int(self.block) % 2**17 // 4}'

    def __enter__(self):
        self.undo = contextlib.ExitStack()
        try:
            for number in range(1, COUNT + 1):
                self._make(number)
        except Exception:
            self.undo.close()
            raise
        return self

    def _make(self, number):
        name, outside, inside = f'{self.tag}-{number}', f'{self.tag}o{number}', f'{self.tag}i{number}'
        run('ip', 'netns', 'add', name)
        self.undo.callback(run, 'ip', 'netns', 'delete', name)
        run('ip', 'link', 'add', outside, 'type', 'veth', 'peer', 'name', inside, 'netns', name)
        run('ip', 'address', 'add', f'{self.router(number)}/30', 'dev', outside)
        run('ip', 'link', 'set', outside, 'up')
        run('ip', '-n', name, 'address', 'add', f'{self.address(number)}/30', 'dev', inside)
        run('ip', '-n', name, 'link', 'set', inside, 'up')

    def __exit__(self, *error):
        self.undo.close()

    def router(self, number):
        return str(self.block + 4 * number + 1)

    def address(self, number):
        return str(self.block + 4 * number + 2)

    def inside(self, number):
        return ['ip', 'netns', 'exec', f'{self.tag}-{number}']


class Loopback:
    def __init__(self):
        self.block = some_block('127.1.0.0/16')

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def router(self, number):
        return str(self.block)

    def address(self, number):
        return str(self.block + number)

    def inside(self, number):
        return []


@contextlib.contextmanager
def network():
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(Namespaces())
        except (OSError, subprocess.CalledProcessError) as error:
            found = Loopback()
            print(f'no network namespaces here ({error})')
        print(f'the nodes are in {type(found).__name__}')
        yield found


class Node:
    def __init__(self, net, folder, number, site, key):
        self.name, self.address = f'node{number}', net.address(number)
        folder = folder / self.name
        folder.mkdir()
        environment = {'NODE': self.name, 'ADDRESS': self.address, 'ROUTER': net.router(number), 'SITE': site, 'KEY': str(key)}
        self.program = Program(folder, *net.inside(number), 'env', *(f'{name}={value}' for name, value in environment.items()),
                               *sanitized(), *command(), '--ini', str(EXAMPLE / 'uwsgi.ini'))
        self.program.wait_for_log('cores on fibers')

    def _pids(self):
        log = self.program.log()
        return [int(pid) for pid in re.findall(r'spawned uWSGI (?:master process|worker \d+) \(pid: (\d+)', log)]

    def kill(self):
        """As a power cut does."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.program.process.wait(60)

    def stop(self):
        return self.program.stop()


class Router:
    """uWSGI's, with its subscription server."""

    def __init__(self, net, folder, port):
        self.site = f'127.0.0.1:{port}'
        self.address = ('127.0.0.1', port)
        folder = folder / 'router'
        (folder / 'keys').mkdir(parents=True)
        self.key = folder / 'site.pem'
        run('openssl', 'genrsa', '-out', str(self.key), '2048')
        public = re.sub(r'[^A-Za-z0-9._-]', '_', self.site) + '.pem'
        run('openssl', 'rsa', '-in', str(self.key), '-pubout', '-out', str(folder / 'keys' / public))
        first, *more = dict.fromkeys(net.router(number) for number in range(1, COUNT + 1))
        self.program = Program(folder, 'env', f'HTTP={self.site}', f'ROUTER={first}', f'KEYS={folder / "keys"}',
                               command()[0], *plugins('http'), '--ini', str(EXAMPLE / 'router.ini'),
                               *(word for address in more for word in ('--http-subscription-server', f'{address}:7000')))
        self.program.wait_for_log('spawned uWSGI http 1')

    def wait_for(self, node, count=1):
        self.program.wait_for_log(f'new node: {re.escape(node.address)}', count=count)

    def stop(self):
        self.program.stop()


class Front:
    """nginx or HAProxy, with the example's configuration."""

    def __init__(self, net, folder, port, name, file, around, *arguments):
        self.site, self.address = f'127.0.0.1:{port}', ('127.0.0.1', port)
        folder = folder / name
        folder.mkdir()
        text = (EXAMPLE / file).read_text()
        for number in range(1, COUNT + 1):
            assert f'10.0.0.{number}:8000' in text
            text = text.replace(f'10.0.0.{number}:8000', f'{net.address(number)}:8000')
        (folder / file).write_text(around(re.sub(r'(listen |bind [*]?:)80\b', rf'\g<1>{port}', text), folder))
        self.program = Program(folder, name, *(argument.format(file=folder / file, folder=folder) for argument in arguments))
        wait_for_port(port, self.program)

    def stop(self):
        self.program.stop()


def nginx(net, folder, port):
    def around(text, folder):
        return (f'daemon off; pid {folder}/pid; error_log {folder}/error.log;\nevents {{}}\n'
                f'http {{ access_log off;\n{text}\n}}\n')
    return Front(net, folder, port, 'nginx', 'nginx.conf', around, '-c', '{file}', '-p', '{folder}')


def haproxy(net, folder, port):
    return Front(net, folder, port, 'haproxy', 'haproxy.cfg', lambda text, _: text, '-db', '-f', '{file}')


def wait_for_port(port, program):
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(('127.0.0.1', port)):
            return
        assert program.process.poll() is None and time.monotonic() < deadline, program.log()
        time.sleep(0.01)  # A poll of the condition above.
