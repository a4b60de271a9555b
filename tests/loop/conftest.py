"""The same tests run on asyncio's loop, as the reference, and on ours."""
import asyncio
import functools
import gc
import signal
import socket
import ssl
import subprocess
import sys

import pytest
import recorder
import uwsgi_tornado
from _pytest.logging import caplog_records_key

LOOPS = {'asyncio': asyncio.SelectorEventLoop, 'ours': uwsgi_tornado.EventLoop}

# Where a shell started this in the background SIGINT is ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    assert hasattr(uwsgi_tornado, '_live'), 'these tests want the debug build: make loop-test'


def pytest_collection_finish(session):
    gc.freeze()  # What is there by now is no garbage: collections after each test are quick.


@pytest.fixture(params=LOOPS)
def loop_type(request):
    return LOOPS[request.param]


@pytest.fixture
def new_loop(loop_type):
    """Makes loops and closes them in the end."""
    made = []

    def make():
        made.append(loop_type())
        return made[-1]
    yield make
    for loop in made:
        if not loop.is_closed():
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@pytest.fixture
def loop(new_loop):
    return new_loop()


@pytest.fixture
def errors(loop):
    """What the loop's exception handler was told."""
    told = []
    loop.set_exception_handler(lambda loop, context: told.append(context))
    return told


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    """Neither loops nor handles nor transports nor watchers outlive a test."""
    gc.collect()
    before = uwsgi_tornado._live()
    yield
    request.node.funcargs.clear()  # pytest would keep them a little longer,
    for records in request.node.stash[caplog_records_key].values():
        records.clear()  # and the frames of exceptions that were logged.
    gc.collect()
    after = uwsgi_tornado._live()
    counted = ('loops', 'handles', 'transports', 'watchers')
    assert {name: after[name] for name in counted} == {name: before[name] for name in counted}


@pytest.fixture
def pair():
    """Two connected sockets that do not block."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def until(loop):
    """Turns the loop until `is_true()`."""
    return functools.partial(recorder.until, loop)


@pytest.fixture
def run_python(loop_type):
    """Runs a program in a process of its own; `make_loop()` in it makes the loop under test."""
    maker = 'import asyncio, uwsgi_tornado\nmake_loop = ' + (
        'asyncio.SelectorEventLoop' if loop_type is asyncio.SelectorEventLoop else 'uwsgi_tornado.EventLoop')

    def run(program, **more):
        return subprocess.run([sys.executable, '-c', maker + '\n' + program], text=True, timeout=30,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    return run


@pytest.fixture(scope='session')
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tls')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost',
                    '-addext', 'subjectAltName=DNS:localhost', '-keyout', folder / 'key.pem', '-out', folder / 'cert.pem'],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder


@pytest.fixture
def server_tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / 'cert.pem', certificate / 'key.pem')
    return context


@pytest.fixture
def client_tls(certificate):
    return ssl.create_default_context(cafile=certificate / 'cert.pem')
