"""Requests that fetch. Each route answers with a text."""
import json
import os
import threading
import time
import urllib.parse

from uwsgi_tornado import HTTPError, HTTPTimeoutError, await_, fetch, fetch_async, gather_, no_suspend, spawn

UPSTREAM = os.environ.get('UPSTREAM', '')
ticks = []  # Of /beside, while others wait.


def ask(query, body):
    """fetch() with the arguments of the request's body: a JSON object."""
    arguments = json.loads(body)
    chunk, repeat = arguments.pop('chunk', None), arguments.pop('repeat', 0)
    if chunk is not None:
        arguments['body'] = (chunk.encode() for _ in range(repeat))
    if 'file' in arguments:
        arguments['body'] = open(arguments.pop('file'), 'rb')
    try:
        response = fetch(arguments.pop('url'), **arguments)
    except HTTPError as error:
        return json.dumps({'error': type(error).__name__, 'text': str(error), 'code': error.code, 'curl_code': error.curl_code,
                           'status': error.response.status if error.response else None})
    body = b''.join(response) if arguments.get('stream') else response.body
    return json.dumps({
        'status': response.status, 'reason': response.reason, 'headers': response.headers.items(), 'size': len(body),
        'body': body[:1000].decode('latin1'), 'url': response.effective_url, 'http_version': response.http_version,
        'timings': response.timings})


def one(query, body):
    return fetch(f'{UPSTREAM}/{query}').body.decode()


def many(query, body):
    return repr([response.body.decode() for response in gather_(*(fetch_async(f'{UPSTREAM}/{n}') for n in range(20)))])


def spawned(query, body):
    return repr([each.result().body.decode() for each in [spawn(fetch, f'{UPSTREAM}/{n}') for n in range(5)]])


def streamed(query, body):
    """Reads as the upstream sends; others run meanwhile."""
    size = 0
    with fetch(f'{UPSTREAM}/{query}', stream=True) as response:
        for chunk in response:
            size += len(chunk)
    return f'{response.status} {size}'


def over_tls(query, body):
    return fetch(f'{UPSTREAM}/who', verify=os.environ['CA']).body.decode()


def held_stream(query, body):
    """A stream that nobody reads while another fetch from the same server goes on."""
    big, small = query.split(',')
    with fetch(f'{UPSTREAM}/{big}', stream=True, verify=os.environ['CA']) as response:
        beside = fetch(f'{UPSTREAM}/{small}', verify=os.environ['CA'], request_timeout=5).body.decode()
        time.sleep(0.2)
        again = fetch(f'{UPSTREAM}/{small}', verify=os.environ['CA'], request_timeout=5).body.decode()
        return f'{sum(map(len, response))} {again.split()[1]} {beside.split()[1]}'


def left_early(query, body):
    response = fetch(f'{UPSTREAM}/{query}', stream=True)
    for chunk in response:
        break
    response.close()
    return f'{len(chunk) > 0} {list(response)}'


def uploaded(query, body):
    """An iterator that waits, as a plain one may here."""
    def chunks():
        for number in range(5):
            time.sleep(0.02)
            yield b'%d' % number
    return fetch(f'{UPSTREAM}/', body=chunks()).body.decode()


def upload_fails(query, body):
    def chunks():
        yield b'some'
        raise LookupError('no more')
    try:
        fetch(f'{UPSTREAM}/', body=chunks())
    except LookupError as error:
        return str(error)


def refused(query, body):
    """What is said where nothing can be waited for."""
    said = []

    def attempt(function):
        try:
            function()
        except RuntimeError as error:
            said.append(str(error))

    async def running():
        fetch(UPSTREAM)
    attempt(lambda: await_(running()))
    with no_suspend():
        attempt(lambda: fetch(UPSTREAM))
    for function in fetch, fetch_async:
        thread = threading.Thread(target=attempt, args=(lambda: function(UPSTREAM),))
        thread.start()
        thread.join()
    return json.dumps(said)


def waits_too_long(query, body):
    said = []
    for wait in [lambda: fetch(f'{UPSTREAM}/never', request_timeout=0.2),
                 lambda: await_(fetch_async(f'{UPSTREAM}/never'), 0.2)]:
        try:
            wait()
        except TimeoutError as error:
            said.append(isinstance(error, HTTPTimeoutError))
    return repr(said)


def forks(query, body):
    """A child that ends at once; the parent's transfers go on."""
    futures = [fetch_async(f'{UPSTREAM}/{n}') for n in range(5)]
    stream = fetch(f'{UPSTREAM}/big', stream=True)
    next(stream)
    pid = os.fork()
    if pid == 0:
        try:
            try:
                fetch(UPSTREAM)
            finally:
                del futures, stream
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    size = sum(len(chunk) for chunk in stream)
    return f'{size > 1000} {[each.body.decode() for each in gather_(*futures)]}'


def held_by_thread(query, body):
    """A stream whose last reference a thread drops."""
    box = [fetch(f'{UPSTREAM}/{query}', stream=True)]
    next(box[0])
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join()
    return 'dropped'


def beside(query, body):
    """How late a sleeper wakes at most, while another request gives up a look-up nobody answers."""
    late = 0
    begun = time.monotonic()
    while time.monotonic() < begun + float(query):
        before = time.monotonic()
        time.sleep(0.01)
        late = max(late, time.monotonic() - before)
    return str(late)


def lookup(query, body):
    try:
        fetch('http://nobody.slow.test/', request_timeout=0.3)
    except HTTPTimeoutError:
        return 'True'


def imported(query, body):
    return said_at_import


try:
    fetch(UPSTREAM)
except RuntimeError as error:
    said_at_import = str(error)


def application(environ, start_response):
    route, query = environ['PATH_INFO'].strip('/'), urllib.parse.unquote(environ['QUERY_STRING'])
    body = environ['wsgi.input'].read() if environ['REQUEST_METHOD'] == 'POST' else b''
    answer = globals()[route](query, body).encode()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(answer)))])
    return [answer]
