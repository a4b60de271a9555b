"""Iterables whose chunks follow one another at once, or do not."""
import os
import time

released = False


def many(query):
    for number in range(100):
        yield b'%-100d' % number


def waiting(query):
    """Waits for a byte after three chunks."""
    yield from (b'head ', b'one ', b'two ')
    with open(query, 'rb') as fifo:
        fifo.read(1)
    yield from (b'three ', b'four')


def computing(query):
    """Computes after three chunks until another request says that it is enough."""
    global released
    released = False
    yield from (b'head ', b'one ', b'two ')
    while not released:
        pass
    yield b'three'


def release(query):
    global released
    released = True
    yield b'released'


def failing(query):
    yield from (b'head ', b'one ', b'two ')
    raise LookupError('after three chunks')


def odd(query):
    """What is no bytes among chunks, which uWSGI leaves out."""
    yield from (b'head ', b'one ', 'none', b'', b'two ', None, b'three')


def large(query):
    for number in range(2000):
        yield b'%-1000d' % number
        if number % 500 == 0:
            yield bytes(100_000)
            time.sleep(0)


def forking(query):
    yield from (b'head ', b'one ')
    if (child := os.fork()) == 0:
        return
    os.waitpid(child, 0)
    yield b'two'


def application(environ, start_response):
    chunks = globals()[environ['PATH_INFO'].strip('/')](environ['QUERY_STRING'])
    headers = [('Content-Type', 'text/plain')]
    if environ['PATH_INFO'] == '/many':
        headers.append(('Content-Length', '10000'))
    start_response('200 OK', headers)
    return chunks
