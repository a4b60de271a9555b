"""What a WSGI application may return; the path says which."""
closed = []


class ListWithClose(list):
    def close(self):
        closed.append('list')


class BytesOfItsOwn(bytes):
    pass


def generator():
    try:
        yield b'one '
        yield b''
        yield b'two'
    finally:
        closed.append('generator')


RESULTS = {
    'list_of_one': lambda: [b'one'],
    'tuple_of_one': lambda: (b'one',),
    'list_of_two': lambda: [b'one ', b'two'],
    'empty_list': lambda: [],
    'list_of_nothing': lambda: [b''],
    'list_with_close': lambda: ListWithClose([b'one']),
    'bytes_of_its_own': lambda: [BytesOfItsOwn(b'one')],
    'bare_bytes': lambda: b'one',
    'generator': generator,
    'iterator': lambda: iter([b'one ', b'two']),
    'closed': lambda: [' '.join(closed).encode()],
}


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return RESULTS[environ['PATH_INFO'][1:]]()
