"""What PEP 3333 says of start_response(), wsgi.input and wsgi.file_wrapper; the path says which."""
import io
import os
import sys
import tempfile

HEADERS = [('Content-Type', 'text/plain')]
DATA = bytes(range(256)) * 1000
closed = []


def exc_info_before_headers(environ, start_response):
    start_response('200 OK', [('X-First', 'yes')])
    try:
        raise ValueError('before')
    except ValueError:
        start_response('500 Oops', HEADERS, sys.exc_info())
    return [b'an error page']


def exc_info_after_headers(environ, start_response):
    write = start_response('200 OK', HEADERS)
    write(b'begun ')
    try:
        raise ValueError('after')
    except ValueError:
        try:
            start_response('500 Oops', HEADERS, sys.exc_info())
        except ValueError as error:
            return [b'raised ', str(error).encode()]
    return [b'not raised']


def exc_info_none(environ, start_response):
    start_response('200 OK', HEADERS, None)
    return [b'as without']


def twice(environ, start_response):
    start_response('200 OK', HEADERS)
    try:
        start_response('201 Created', HEADERS)
    except AssertionError as error:
        return [str(error).encode()]
    return [b'accepted']


def lines(environ, start_response):
    """Sizes of what readline(size) gives, until it gives nothing, and what it was together."""
    read, size = [], int(environ['QUERY_STRING'])
    while line := environ['wsgi.input'].readline(size):
        read.append(line)
    start_response('200 OK', HEADERS)
    return [repr([len(line) for line in read]).encode(), b'\n', b''.join(read)]


def mixed(environ, start_response):
    given = environ['wsgi.input']
    parts = [given.readline(0), given.readline(3), given.readline(), given.readline(None), given.read(2), given.readline(-1),
             given.readline(100), given.read()]
    start_response('200 OK', HEADERS)
    return [repr(parts).encode()]


class Closing:
    def close(self):
        if not self.closed:  # The end of the object closes it again.
            closed.append(type(self).__name__)
        super().close()


class Memory(Closing, io.BytesIO):
    pass


class Text(Closing, io.StringIO):
    pass


def part_read(environ):
    file = tempfile.TemporaryFile()
    file.write(DATA)
    file.seek(1000)
    return file


def untouched(environ):
    file = tempfile.TemporaryFile()
    file.write(DATA)
    file.seek(0)
    return file


def pipe(environ):
    reader, writer = os.pipe()
    os.write(writer, b'through a pipe')
    os.close(writer)
    return open(reader, 'rb')


FILES = {'part_read': part_read, 'untouched': untouched, 'pipe': pipe, 'memory': lambda _: Memory(DATA),
         'memory_part_read': lambda _: (memory := Memory(DATA)).seek(1000) and memory, 'text': lambda _: Text('text' * 5000)}


def file(environ, start_response):
    start_response('200 OK', HEADERS)
    name, *size = environ['QUERY_STRING'].split(',')
    return environ['wsgi.file_wrapper'](FILES[name](environ), *map(int, size))


def were_closed(environ, start_response):
    start_response('200 OK', HEADERS)
    return [' '.join(closed).encode()]


def body(environ, start_response):
    start_response('200 OK', [*HEADERS, ('Content-Length', '11')])
    return [b'hello ', b'world']


def endless(environ, start_response):
    start_response('200 OK', HEADERS)
    try:
        while True:
            yield b'x' * 1000
    finally:
        closed.append('endless')


def application(environ, start_response):
    return globals()[environ['PATH_INFO'][1:]](environ, start_response)
