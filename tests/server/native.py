"""Builds the native modules of tests/apps/native into build/native, each anew when its source has changed, and
starts the servers that native libraries talk to.

CC_OF_UWSGI, CXX_OF_UWSGI   compilers for the machine that runs uWSGI, where it is not this one (emulated)
"""
import concurrent.futures
import glob
import os
import pathlib
import platform
import subprocess

import pytest

import services

ROOT = pathlib.Path(__file__).resolve().parents[2]
NATIVE = ROOT / 'tests' / 'apps' / 'native'
CC = os.environ.get('CC_OF_UWSGI', 'gcc').split()
COMPILER = os.environ.get('CXX_OF_UWSGI', 'g++').split()
MACHINE = subprocess.check_output([*COMPILER, '-dumpmachine'], text=True).split('-')[0]
BUILT = ROOT / 'build' / ('native' if MACHINE == platform.machine() else f'native-{MACHINE}')
PEERS = pathlib.Path(__file__).with_name('native_peers.py')
CXX = [*COMPILER, '-std=c++20', '-O2', '-g', '-shared', '-fPIC', '-Wall', '-Wextra', '-Werror']
# The way to thread-locals that the compiler does not take by itself: by descriptors, or by calls.
OTHER_DIALECT = {'x86_64': '-mtls-dialect=gnu2', 'aarch64': '-mtls-dialect=trad'}
RUSTC = ['/usr/bin/rustc', '--edition', '2021', '-O', '--crate-type', 'cdylib']  # Debian's, whichever is first in PATH.


def built(name, source, *command):
    """The library `name`, which the command makes of the source."""
    library, source = BUILT / name, NATIVE / source
    if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
        BUILT.mkdir(parents=True, exist_ok=True)
        unfinished = library.with_suffix('.unfinished')
        subprocess.run([*command, source, '-o', unfinished], check=True)
        unfinished.rename(library)
    return library


@pytest.fixture(scope='session')
def canaries():
    """Their libraries, in one text as the environment has it."""
    wanted = [('cxx.so', 'canaries.cc', *CXX), ('cxx_other_dialect.so', 'canaries.cc', *CXX, OTHER_DIALECT[MACHINE])]
    if MACHINE == platform.machine():  # Debian's compiler of Rust has the standard library of this machine only.
        wanted.append(('rust.so', 'canaries.rs', *RUSTC))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return ':'.join(str(library) for library in pool.map(lambda what: built(*what), wanted))


@pytest.fixture(scope='session')
def bound():
    """The folder of the pybind11 module."""
    python = os.environ.get('PYTHON_OF_UWSGI', '/usr/bin/python3')
    code = 'import sysconfig, pybind11; print(sysconfig.get_path("include"), pybind11.get_include())'
    includes = subprocess.check_output([python, '-c', code], text=True).split()
    return str(built('bound.so', 'bound.cc', *CXX, '-fvisibility=hidden', *(f'-I{folder}' for folder in includes)).parent)


class Peer(services.Service):
    def command(self):
        return ['/usr/bin/python3', PEERS, self.kind, self.port]


class Grpc(Peer):
    kind = 'grpc'


class ZeroMq(Peer):
    kind = 'zmq'


class Slapd(services.Service):
    """OpenLDAP's server: it finds all that is asked for in o=there, and after a second that cn=slow,o=here does not exist."""

    def set_up(self):
        (self.folder / 'slapd.conf').write_text(SLAPD_CONF)

    def command(self):
        return ['/usr/sbin/slapd', '-d', '0', '-f', self.folder / 'slapd.conf', '-h', f'ldap://127.0.0.1:{self.port}/']


SLAPD_CONF = '''
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_null
moduleload retcode
threads 64
database null
suffix o=here
overlay retcode
retcode-parent o=here
retcode-item cn=slow 0x20 sleeptime=1
database null
suffix o=there
dosearch on
'''


def odbc_driver():
    return glob.glob('/usr/lib/*/odbc/psqlodbcw.so')[0]


@pytest.fixture(scope='session')
def grpc_server():
    yield from services.running(Grpc)


@pytest.fixture(scope='session')
def zmq_server():
    yield from services.running(ZeroMq)


@pytest.fixture(scope='session')
def slapd():
    yield from services.running(Slapd)
