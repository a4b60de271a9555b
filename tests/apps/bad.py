"""Applications that misbehave, one route each, beside some that tell how the worker is."""
import builtins
import contextlib
import itertools
import mmap
import os
import time

HEADERS = [('Content-Type', 'text/plain')]
inside = 0


def good(environ, start_response):
    start_response('200 OK', HEADERS)
    return [b'hello']


def request(environ, start_response):
    """What the client said, and nothing of another client."""
    start_response('200 OK', HEADERS)
    said = {key: environ[key] for key in environ
            if key.startswith('HTTP_') or key in ('REQUEST_METHOD', 'PATH_INFO', 'QUERY_STRING', 'CONTENT_LENGTH')}
    return [repr(sorted(said.items())).encode()]


def together(environ, start_response):
    """Ends once as many requests as asked are in here at the same time: that many cores work."""
    global inside
    inside += 1
    deadline = time.monotonic() + 10
    while inside < int(environ['QUERY_STRING']) and time.monotonic() < deadline:
        time.sleep(0.005)
    return good(environ, start_response)


def leave(environ, start_response):
    global inside
    inside = 0
    return good(environ, start_response)


def sleep(environ, start_response):
    time.sleep(float(environ['QUERY_STRING']))
    return good(environ, start_response)


def hold(environ, start_response):
    """Answers at once and stays."""
    start_response('200 OK', HEADERS)
    yield b'here'
    time.sleep(float(environ['QUERY_STRING']))


def tick(environ, start_response):
    """The longest time, within those seconds, that the loop was kept from this request."""
    end = time.monotonic() + float(environ['QUERY_STRING'])
    longest = 0
    while (before := time.monotonic()) < end:
        time.sleep(0.01)
        longest = max(longest, time.monotonic() - before)
    start_response('200 OK', HEADERS)
    return [str(longest).encode()]


def wanted(environ):
    return getattr(builtins, environ['QUERY_STRING'])('as asked')


def raises_before(environ, start_response):
    raise wanted(environ)


def raises_after(environ, start_response):
    start_response('200 OK', HEADERS)
    raise wanted(environ)


def raises_in_first_step(environ, start_response):
    start_response('200 OK', HEADERS)
    raise wanted(environ)
    yield b'never'


def raises_in_generator(environ, start_response):
    start_response('200 OK', HEADERS + [('Content-Length', '10')])
    yield b'hello'
    raise wanted(environ)


def raises_after_wait(environ, start_response):
    time.sleep(0.01)
    raise wanted(environ)


def allocate(environ, start_response):
    bytearray(int(environ['QUERY_STRING']))
    return good(environ, start_response)


def read(environ, start_response):
    environ['wsgi.input'].read()
    return good(environ, start_response)


mappings = []


def take_mappings(environ, start_response):
    """All that the process may have but a few; neighbours of different protection are not merged."""
    with contextlib.suppress(OSError):
        for protection in itertools.cycle([mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE]):
            mappings.append(mmap.mmap(-1, mmap.PAGESIZE, prot=protection))
    del mappings[-int(environ['QUERY_STRING']):]
    return good(environ, start_response)


def give_mappings_back(environ, start_response):
    mappings.clear()
    return good(environ, start_response)


class RaisesInClose:
    def __init__(self, error):
        self.error = error

    def __iter__(self):
        return iter([b'hello'])

    def close(self):
        raise self.error


def raises_in_close(environ, start_response):
    start_response('200 OK', HEADERS)
    return RaisesInClose(wanted(environ))


def returns(environ, start_response):
    start_response('200 OK', HEADERS)
    return {'None': None, 'str': 'hello', 'ints': [1, 2], 'int': 5, 'object': object()}[environ['QUERY_STRING']]


def silent(environ, start_response):
    return [b'no start_response']


def bad_status(environ, start_response):
    start_response(200, HEADERS)
    return [b'hello']


def bad_headers(environ, start_response):
    start_response('200 OK', [('X-Number', 1)])
    return [b'hello']


def pid(environ, start_response):
    start_response('200 OK', HEADERS)
    return [str(os.getpid()).encode()]


def application(environ, start_response):
    name = environ['PATH_INFO'].strip('/') or 'good'
    return globals()[name](environ, start_response)
