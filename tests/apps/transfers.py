"""Bodies in every way uWSGI reads them, and responses in every way it sends them."""
import hashlib
import io
import os
import time

import uwsgi

FILE = os.environ.get('FILE')
HEADERS = [('Content-Type', 'text/plain')]


def quick(environ, start_response):
    start_response('200 OK', HEADERS)
    return [b'quick']


# --- Bodies: each answers with the digest of what it read ---------------------------------------


def digest(start_response, pieces):
    sha = hashlib.sha256()
    for piece in pieces:
        sha.update(piece)
    start_response('200 OK', HEADERS)
    return [sha.hexdigest().encode()]


def read_all(environ, start_response):
    return digest(start_response, [environ['wsgi.input'].read()])


def read_some(environ, start_response):
    return digest(start_response, iter(lambda: environ['wsgi.input'].read(999), b''))


def readline(environ, start_response):
    return digest(start_response, iter(environ['wsgi.input'].readline, b''))


def lines(environ, start_response):
    return digest(start_response, environ['wsgi.input'])


def chunked(environ, start_response):
    return digest(start_response, iter(uwsgi.chunked_read, b''))


def chunked_nb(environ, start_response):
    def pieces():
        while True:
            piece = uwsgi.chunked_read_nb()
            if piece == b'':
                return
            if piece is None:
                uwsgi.wait_fd_read(uwsgi.connection_fd(), 30)
                uwsgi.suspend()
            else:
                yield piece

    return digest(start_response, pieces())


def chunked_timeout(environ, start_response):
    try:
        while uwsgi.chunked_read(1):
            pass
    except OSError as error:
        print('chunked:', error)
    return quick(environ, start_response)


# --- Responses: each sends FILE -------------------------------------------------------------------


def file_wrapper(environ, start_response):
    start_response('200 OK', HEADERS)
    return environ['wsgi.file_wrapper'](open(FILE, 'rb'), 4096)


class SlowFile(io.FileIO):
    """No descriptor for uWSGI to send from: it must read, and that takes time."""

    def read(self, size=-1):
        time.sleep(0.01)
        return super().read(100_000)

    def fileno(self):
        raise OSError('none')


def slow_file_wrapper(environ, start_response):
    start_response('200 OK', HEADERS)
    return environ['wsgi.file_wrapper'](SlowFile(FILE), 100_000)


def sendfile(environ, start_response):
    start_response('200 OK', HEADERS)
    uwsgi.sendfile(FILE)
    return []


def x_sendfile(environ, start_response):
    start_response('200 OK', [*HEADERS, ('X-Sendfile', FILE)])
    return []


def generated(environ, start_response):
    """The file in pieces, with a wait before each."""
    start_response('200 OK', HEADERS)
    with open(FILE, 'rb') as file:
        while piece := file.read(100_000):
            time.sleep(0.01)
            yield piece


def written(environ, start_response):
    write = start_response('200 OK', HEADERS)
    for piece in generated(environ, lambda status, headers: None):
        write(piece)
    return []


def application(environ, start_response):
    return globals()[environ['PATH_INFO'].strip('/')](environ, start_response)
