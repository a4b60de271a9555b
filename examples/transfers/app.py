"""Uploads and downloads in pieces: what a request needs in memory does not depend on their size.

PUT /files/NAME stores the body and answers with its digest; GET /files/NAME sends it; GET /generated?BYTES makes it up.
"""
import hashlib
import os
import pathlib
import re
import tempfile

import uwsgi

FOLDER = pathlib.Path(os.environ.get('UPLOADS') or f'{tempfile.gettempdir()}/uploads')
FOLDER.mkdir(exist_ok=True)
PIECE = 64 * 1024


class NotHere(Exception):
    pass


def pieces_of_body(environ):
    """Yields pieces as they arrive. If the peer sends nothing for socket-timeout, the read raises OSError."""
    if environ.get('HTTP_TRANSFER_ENCODING', '').lower() == 'chunked':
        return iter(uwsgi.chunked_read, b'')
    return iter(lambda: environ['wsgi.input'].read(PIECE), b'')


def file_of(environ):
    name = re.fullmatch(r'/files/(\w[\w.-]*)', environ['PATH_INFO'], re.ASCII)
    if name is None:
        raise NotHere
    return FOLDER / name[1]


def store(environ, target):
    """A file that gets its name once it is complete. If it never is, it is deleted."""
    digest, size = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=FOLDER, prefix='.upload-') as file:
        for piece in pieces_of_body(environ):
            digest.update(piece)
            size += file.write(piece)
        if environ.get('CONTENT_LENGTH') and size < int(environ['CONTENT_LENGTH']):
            raise OSError('the client left')
        file.flush()
        os.link(file.name, file.name + '.whole')  # Its own name is deleted with the block.
        os.replace(file.name + '.whole', target)
    return f'{digest.hexdigest()} {size}\n'.encode()


def upload(environ, start_response):
    target = file_of(environ)
    try:
        answer, status = store(environ, target), '201 Created'
    except OSError as error:
        print(f'upload of {target.name}: {error}', flush=True)
        answer, status = b'the body did not come\n', '408 Request Timeout'
    start_response(status, [('Content-Type', 'text/plain'), ('Content-Length', str(len(answer)))])
    return [answer]


def download(environ, start_response):
    """uWSGI sends the file (sendfile). While the request waits for the reader it runs no Python code."""
    try:
        file = open(file_of(environ), 'rb')
    except FileNotFoundError:
        raise NotHere from None
    start_response('200 OK', [('Content-Type', 'application/octet-stream'),
                              ('Content-Length', str(os.fstat(file.fileno()).st_size))])
    return environ['wsgi.file_wrapper'](file, PIECE)


def generated(environ, start_response):
    size = int(environ['QUERY_STRING'] or PIECE)
    start_response('200 OK', [('Content-Type', 'application/octet-stream'), ('Content-Length', str(size))])
    whole = bytes(range(256)) * (PIECE // 256)
    for at in range(0, size, PIECE):
        yield whole[:size - at]


def application(environ, start_response):
    try:
        if environ['REQUEST_METHOD'] == 'PUT':
            return upload(environ, start_response)
        if environ['PATH_INFO'] == '/generated':
            return generated(environ, start_response)
        if environ['PATH_INFO'] != '/':
            return download(environ, start_response)
    except NotHere:
        start_response('404 Not Found', [('Content-Type', 'text/plain')])
        return [b'not here\n']
    answer = b'%d answered\n' % os.getpid()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(answer)))])
    return [answer]
