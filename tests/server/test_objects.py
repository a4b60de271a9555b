"""Which objects are redirected, and how: the loader's callers, locks of any library, what stands before libc."""
import contextlib
import json
import socket
import subprocess
import threading

import pytest

from conftest import APPS, ASAN
from overlap import assert_far_below_serial

AT_ONCE = 20
NAP_S = 0.05
SUSPENDING = '--tornado-suspend-lib', 'libnap', '--tornado-suspend-lib', 'libneighbour'


def compile_library(source, library, *flags):
    library.parent.mkdir(exist_ok=True)
    subprocess.run(['cc', '-Wall', '-Werror', '-O1', '-shared', '-fPIC', f'-Wl,-soname,{library.name}', '-o', library,
                    APPS / source, *flags, '-ldl', '-lpthread'], check=True)


@pytest.fixture
def libraries(tmp_path):
    """An environment with libloader.so, whose RUNPATH alone leads to libneighbour.so, and libkeeper.so above libnap.so."""
    compile_library('loader.c', tmp_path / 'libloader.so', '-Wl,--enable-new-dtags,-rpath,$ORIGIN/sub')
    compile_library('nap.c', tmp_path / 'sub' / 'libneighbour.so')
    compile_library('nap.c', tmp_path / 'libnap.so')
    compile_library('keeper.c', tmp_path / 'libkeeper.so', '-Wl,--no-as-needed', f'-L{tmp_path}', '-lnap', '-Wl,-rpath,$ORIGIN')
    return {'LIBRARIES': str(tmp_path)}


def bodies(running, path):
    results, seconds = running.get_all([path] * AT_ONCE)
    return [result[2] if not isinstance(result, Exception) else result for result in results], seconds


CALLER_IS_KNOWN = pytest.mark.skipif(ASAN, reason="libc sees the sanitizer's own dlopen() as the caller")


@pytest.mark.smoke
@CALLER_IS_KNOWN
@pytest.mark.parametrize('listed', [['--tornado-suspend-lib', 'libloader'], []], ids=['listed', 'unlisted'])
def test_library_finds_its_neighbour_by_its_own_runpath(server, threaded_server, libraries, listed):
    assert threaded_server('objects.py', environ=libraries).get('/load_and_nap')[2] == b'0'
    running = server('objects.py', *SUSPENDING, *listed, environ=libraries)
    answers, seconds = bodies(running, '/load_and_nap')
    assert answers == [b'0'] * AT_ONCE
    # And what it loaded suspends.
    assert_far_below_serial(seconds, AT_ONCE, NAP_S)


@pytest.mark.smoke
def test_any_library_may_hold_its_mutex_while_one_below_it_waits(server, threaded_server, libraries):
    assert bodies(threaded_server('objects.py', threads=AT_ONCE, environ=libraries), '/nap_alone')[0] == [b'1'] * AT_ONCE
    answers, _ = bodies(server('objects.py', *SUSPENDING, environ=libraries), '/nap_alone')
    assert answers == [b'1'] * AT_ONCE


@CALLER_IS_KNOWN
def test_library_that_waits_unseen_is_named_once(server, libraries):
    running = server('objects.py', *SUSPENDING, environ=libraries)
    for _ in range(2):
        assert running.get('/nap_alone')[2] == b'1'
        assert running.get('/load_and_nap')[2] == b'0'
    assert running.log.count('tornado: libkeeper.so calls poll()') == 1
    unlisted = json.loads(running.get('/report')[2])['unlisted']
    assert unlisted['libkeeper.so'] == ['poll']
    assert not {'libloader.so', 'libnap.so', 'libneighbour.so', 'libc.so.6'} & unlisted.keys()


# --- What stands before libc ------------------------------------------------------------------------

def serve_greeting(listener):
    """A proxy that greets late, then says what it is sent."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=greet_and_echo, args=(connection,), daemon=True).start()


def greet_and_echo(connection):
    with connection:
        threading.Event().wait(0.2)
        connection.sendall(b'hello ')
        connection.sendall(connection.recv(10) * 3)


@pytest.fixture
def preloading(tmp_path, libraries):
    compile_library('preloaded.c', tmp_path / 'libbefore.so')
    with socket.create_server(('127.0.0.1', 0), backlog=100) as listener:
        threading.Thread(target=serve_greeting, args=(listener,), daemon=True).start()
        yield {**libraries, 'LD_PRELOAD': str(tmp_path / 'libbefore.so'), 'PROXY_PORT': str(listener.getsockname()[1])}
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.skipif(ASAN, reason='the sanitizer stands there itself')
def test_connecting_goes_through_what_is_preloaded(server, threaded_server, preloading):
    assert threaded_server('objects.py', environ=preloading).get('/through_proxy')[2] == b'xxx'
    answers, seconds = bodies(server('objects.py', environ=preloading), '/through_proxy')
    assert answers == [b'xxx'] * AT_ONCE
    assert_far_below_serial(seconds, AT_ONCE, 0.2)


@pytest.mark.skipif(ASAN, reason='the sanitizer stands there itself')
def test_sleeping_goes_through_what_is_preloaded(server, threaded_server, preloading):
    assert threaded_server('objects.py', environ=preloading).get('/sleep_long')[2] == b'True'
    answers, seconds = bodies(server('objects.py', environ=preloading), '/sleep_long')
    assert answers == [b'True'] * AT_ONCE
    assert_far_below_serial(seconds, AT_ONCE, 0.2)
