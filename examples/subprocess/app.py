"""A child process whose lines are streamed, and work on a real thread with a callback."""
import asyncio
import collections
import functools
import hashlib
import json
import subprocess

import uwsgi_tornado

COUNT = 'for n in $(seq "$1"); do echo "line $n"; sleep 1; done; exit 3'
ROUNDS = 500_000  # A tenth of a second or more, in C code that computes without the GIL.

loop = asyncio.get_event_loop()  # The worker's.
finished = collections.deque(maxlen=100)


def lines(command):
    """Yields the output of the command line by line as it comes, and then its exit status."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout  # For type checkers.
    try:
        yield from process.stdout
        yield b'ended with %d\n' % process.wait()
    finally:  # It still runs if the client has disconnected.
        process.kill()
        process.stdout.close()
        with uwsgi_tornado.shield():
            process.wait()


def digest(text):
    return hashlib.pbkdf2_hmac('sha256', text, b'salt', ROUNDS).hex()


def on_digest(name, future):
    """Called on the loop, where nothing may block, once the thread is done."""
    error = future.exception()
    finished.append(f'{name}: {error or future.result()}')


def begin(name, text):
    """No request waits for it; the callback gets the result."""
    loop.run_in_executor(None, digest, text).add_done_callback(functools.partial(on_digest, name))


def application(environ, start_response):
    path, status = environ['PATH_INFO'], '200 OK'
    if path == '/lines':
        count = environ['QUERY_STRING'] or '3'
        if not count.isdecimal():
            start_response('400 Bad Request', [('Content-Type', 'text/plain')])
            return [b'how many lines?\n']
        start_response(status, [('Content-Type', 'text/plain'), ('X-Accel-Buffering', 'no')])
        return lines(['sh', '-c', COUNT, 'sh', count])
    if path == '/digest':
        found = uwsgi_tornado.to_thread(digest, environ['wsgi.input'].read(4096))  # Suspends this request only.
    elif environ['REQUEST_METHOD'] == 'POST':
        begin(path, environ['wsgi.input'].read(4096))
        status, found = '202 Accepted', 'begun'
    else:
        found = list(finished)
    start_response(status, [('Content-Type', 'application/json')])
    return [json.dumps(found).encode() + b'\n']
