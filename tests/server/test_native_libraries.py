"""Real libraries with native code inside, in many requests at once: each answers as under --threads.

Left out: pymssql, as no server that speaks its protocol is in Debian; PyTorch, for its size, is in tests/soak.
"""
import subprocess

import pytest

from conftest import EMBEDDED, Server, ThreadedServer, end
from native import odbc_driver
from overlap import ask_at_once, assert_far_below_serial

pytestmark = pytest.mark.skipif(bool(EMBEDDED), reason='the libraries are the same, and the canaries of test_thread_local.py are asked')

REQUESTS = 50
COMPUTING = 15  # Requests that compute, which takes as long as there are.
QUANTA_MS = [1, 10]

# Where Python is called back, or runs between two calls, it waits there or computes for longer than the quantum.
CALLING = ['pybind11_function', 'pybind11_release', 'pybind11_arguments', 'pybind11_errors', 'pybind11_override', 'scipy_quad',
           'scipy_fsolve', 'scipy_leastsq', 'scipy_fft', 'numpy_errors', 'numpy_function', 'pandas_groups', 'lxml_transform',
           'lxml_errors', 'pikepdf_document', 'cryptography_certificate', 'cryptography_errors', 'cffi_errno', 'cffi_callback',
           'ctypes_errno', 'gi_main_loop', 'plyvel_put', 'lmdb_write', 'xapian_write', 'sysv_semaphore_held', 'zmq_thread',
           'uvloop_in_request', 'kafka_produce']
# The seconds that each waits in C.
WAITING = {'grpc_call': 0.2, 'grpc_stream': 0.2, 'zmq_request': 0.2, 'ldap_search': 1, 'pyodbc_query': 0.2, 'kafka_poll': 0.2}


@pytest.fixture(scope='module')
def environ(tmp_path_factory, bound, grpc_server, zmq_server, slapd, postgres):
    odbc = f'Driver={odbc_driver()};Server=127.0.0.1;Port={postgres.port};Database=postgres;UID=app'
    return {'PYTHONPATH': bound, 'FOLDER': str(tmp_path_factory.mktemp('stores')), 'GRPC_PORT': str(grpc_server.port),
            'ZMQ_PORT': str(zmq_server.port), 'LDAP_PORT': str(slapd.port), 'ODBC': odbc}


class Running:
    """One server for all tests of a kind; a new one when it does not answer any more."""

    def __init__(self, kind, folder, options, environ):
        self.start = lambda: kind(folder, 'native_libraries.py', options, 'http-socket', REQUESTS + 10, environ)
        self.server = self.start()

    def get(self):
        try:
            assert self.server.get('/', timeout_s=5)[0] == 200
        except Exception:  # A test before this one has said so.
            self.server.kill()
            self.server = self.start()
        return self.server


@pytest.fixture(scope='module', params=QUANTA_MS)
def with_engine(request, tmp_path_factory, environ):
    running = Running(Server, tmp_path_factory.mktemp('engine'), ['--tornado-quantum', str(request.param)],
                      {**environ, 'QUANTUM_MS': str(request.param)})
    yield running
    problems = end(running.server)
    assert not problems, '\n'.join(problems)


@pytest.fixture(scope='module')
def with_threads(tmp_path_factory, environ):
    running = Running(ThreadedServer, tmp_path_factory.mktemp('threads'), [], {**environ, 'QUANTUM_MS': '1'})
    yield running
    running.server.kill()


answers_of_threads = {}


def assert_as_under_threads(path, with_engine, with_threads, count=REQUESTS):
    """How long it took."""
    answers, seconds = ask_at_once(with_engine.get(), path, count)
    if path not in answers_of_threads:  # One is enough: they do not depend on the quantum.
        answers_of_threads[path], _ = ask_at_once(with_threads.get(), path, count)
    assert answers == answers_of_threads[path]
    assert len(set(answers)) > 1
    return seconds


@pytest.mark.parametrize('name', CALLING)
def test_answers_are_those_of_threads(name, with_engine, with_threads):
    for how in ('plain', 'waits'):
        assert_as_under_threads(f'/{name}/{how}', with_engine, with_threads)
    assert_as_under_threads(f'/{name}/computes', with_engine, with_threads, COMPUTING)


@pytest.mark.parametrize('name', WAITING)
def test_waits_in_native_code_overlap(name, with_engine, with_threads):
    seconds = assert_as_under_threads(f'/{name}/plain', with_engine, with_threads)
    assert_far_below_serial(seconds, REQUESTS, WAITING[name])


@pytest.fixture
def gpg_home(tmp_path_factory):
    """A folder of gpg's, with fewer rounds for each passphrase than people have."""
    home = tmp_path_factory.mktemp('gpg')
    home.chmod(0o700)
    (home / 'gpg.conf').write_text('s2k-count 1024\n')
    yield home
    subprocess.run(['gpgconf', '--homedir', home, '--kill', 'all'], check=True)


# In processes of their own: on Debian testing gRPC's handler of fork() waits for gRPC's threads, for good under --threads, too.
def test_gpg_waits_while_others_run(server, threaded_server, gpg_home):
    for start in (server, threaded_server):
        running = start('native_libraries.py', environ={'GPG_HOME': str(gpg_home)})
        assert ask_at_once(running, '/gpg_encrypt/waits', 2)[0] == ["(0, b'text')", '(1, 4)']
