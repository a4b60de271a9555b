"""An ASGI application that does what its path says."""
import asyncio
import contextvars
import json
import os
import threading
import time

try:
    import uwsgi_tornado
except ImportError:
    pass  # Under uvicorn.

seen = {'left': 0, 'cancelled': 0, 'errors': []}
variable = contextvars.ContextVar('variable', default='unset')
event = None


async def answer(send, body, status=200, headers=()):
    await send({'type': 'http.response.start', 'status': status,
                'headers': [(b'content-type', b'text/plain'), (b'content-length', b'%d' % len(body)), *headers]})
    await send({'type': 'http.response.body', 'body': body})


async def body_of(receive):
    body, count = b'', 0
    while True:
        message = await receive()
        if message['type'] != 'http.request':
            raise EOFError(message['type'])
        body += message['body']
        count += 1
        if not message['more_body']:
            return body, count


async def hello(scope, receive, send):
    await answer(send, b'hello')


async def show_scope(scope, receive, send):
    shown = {key: value for key, value in scope.items() if key != 'state'}
    await answer(send, json.dumps(shown, default=lambda value: value.decode('latin-1')).encode())


async def spoil_scope(scope, receive, send):
    """Shows it, and writes into all that can be written into."""
    await show_scope(scope, receive, send)
    for value in (scope, scope['asgi'], scope['extensions'], *scope['extensions'].values()):
        value['spoilt'] = True
    scope['headers'].append((b'spoilt', b'1'))


async def task_name(scope, receive, send):
    await answer(send, asyncio.current_task().get_name().encode())


async def sleep(scope, receive, send):
    await asyncio.sleep(float(scope['query_string'] or 0.1))
    await answer(send, b'slept')


class Headers(list):
    def __iter__(self):
        return iter([*super().__iter__(), (b'x-own', b'iterator')])


async def headers_in(scope, receive, send):
    """The pairs in an iterable of that kind, each pair in another sequence."""
    pairs = [[b'content-length', b'0'], (b'X-One', bytearray(b'1')), (b'x-two', memoryview(b'2'))]
    kind = {'list': list, 'tuple': tuple, 'generator': iter, 'subclass': Headers}[scope['query_string'].decode()]
    await send({'type': 'http.response.start', 'status': 200, 'headers': kind(pairs)})
    await send({'type': 'http.response.body'})


async def echo(scope, receive, send):
    body, count = await body_of(receive)
    await answer(send, body, headers=[(b'x-messages', b'%d' % count)])


async def echo_stream(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    while True:
        message = await receive()
        await send({'type': 'http.response.body', 'body': message['body'], 'more_body': message['more_body']})
        if not message['more_body']:
            return


async def at_once(scope, receive, send):
    """Answered within the step that it begins with: no other task has run."""
    ran = []
    asyncio.get_running_loop().call_soon(ran.append, 1)
    await answer(send, b'answered')
    seen['ran'] = list(ran)


async def forgets_await(scope, receive, send):
    receive()
    send({'type': 'http.response.start', 'status': 500, 'headers': []})
    await answer(send, b'not by that')


async def stream(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/plain')]})
    for number in range(int(scope['query_string'] or 5)):
        await send({'type': 'http.response.body', 'body': b'chunk %d\n' % number, 'more_body': True})
    await send({'type': 'http.response.body'})


async def burst(scope, receive, send):
    """Pieces without a wait, of that many bytes; then a wait within the response."""
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    for _ in range(100):
        await send({'type': 'http.response.body', 'body': b'x' * int(scope['query_string']), 'more_body': True})
    await wait_forever(scope, receive, send)


async def compute_between_pieces(scope, receive, send):
    """Holds the loop after the second piece and after the third, each time until there is a file."""
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'first ', 'more_body': True})
    for piece in ('second', 'third'):
        await send({'type': 'http.response.body', 'body': piece.encode() + b' ', 'more_body': True})
        until = time.monotonic() + 30
        while not os.path.exists(f"{scope['query_string'].decode()}/{piece}") and time.monotonic() < until:
            pass
    await send({'type': 'http.response.body', 'body': b'last'})


async def burst_of_a_task(scope, receive, send):
    """As frameworks stream: not from the application's own task."""
    await asyncio.create_task(burst(scope, receive, send))


async def endless(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    sent = 0
    try:
        while True:
            await send({'type': 'http.response.body', 'body': bytes(16384), 'more_body': True})
            sent += 16384
            seen['sent'] = sent
    except OSError:
        seen['left'] += 1
        raise


async def until_left(scope, receive, send):
    """Streams until receive() says that the client has gone."""
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'begun', 'more_body': True})
    await body_of(receive)
    message = await receive()
    assert message == {'type': 'http.disconnect'}
    seen['left'] += 1


async def wait_forever(scope, receive, send):
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        seen['cancelled'] += 1
        raise


async def answer_when_cancelled(scope, receive, send):
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        await answer(send, b'too late', status=503)


async def wait_within_stream(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'begun', 'more_body': True})
    await wait_forever(scope, receive, send)


async def after_response(scope, receive, send):
    """Goes on after its response, as background tasks of frameworks do."""
    global event
    event = asyncio.Event()
    await answer(send, b'answered')
    await event.wait()
    assert (await receive()) == {'type': 'http.disconnect'}
    try:
        await send({'type': 'http.response.body', 'body': b'more'})
    except RuntimeError as error:
        seen['errors'].append(str(error))
    seen['after'] = True


async def release(scope, receive, send):
    event.set()
    await answer(send, b'released')


async def raise_after_response(scope, receive, send):
    await answer(send, b'answered')
    raise ValueError('raised after the response')


async def raise_before(scope, receive, send):
    raise ValueError('raised before the response')


async def raise_within(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'begun', 'more_body': True})
    raise ValueError('raised within the response')


async def exit_in_it(scope, receive, send):
    raise SystemExit(3)


async def returns_nothing(scope, receive, send):
    pass


async def returns_early(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})


async def thread_names(scope, receive, send):
    await answer(send, ' '.join(thread.name for thread in threading.enumerate()).encode())


async def show_context(scope, receive, send):
    before = variable.get()
    variable.set('set')
    await answer(send, before.encode())


async def status(scope, receive, send):
    code = int(scope['query_string'])
    await send({'type': 'http.response.start', 'status': code, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'' if code in (204, 304) else b'body'})


async def trailers(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'trailer', b'x-sum')], 'trailers': True})
    await send({'type': 'http.response.body', 'body': b'data'})
    await send({'type': 'http.response.trailers', 'headers': [(b'x-sum', b'4')]})


async def early_hint(scope, receive, send):
    await send({'type': 'http.response.early_hint', 'links': [b'</style.css>; rel=preload']})
    await answer(send, b'hinted')


async def pathsend(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.pathsend', 'path': scope['query_string'].decode()})


async def no_such_file(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.pathsend', 'path': '/no/such/file'})


START = {'type': 'http.response.start', 'status': 200, 'headers': []}
WRONG = {
    'body_first': [{'type': 'http.response.body', 'body': b''}],
    'started_twice': [START, START],
    'no_dict': ['http.response.start'],
    'no_type': [{'status': 200}],
    'type_is_bytes': [{'type': b'http.response.start', 'status': 200}],
    'unknown_type': [{'type': 'http.response.end'}],
    'of_websocket': [{'type': 'websocket.send', 'text': ''}],
    'status_is_text': [{**START, 'status': '200'}],
    'status_too_small': [{**START, 'status': 99}],
    'status_missing': [{'type': 'http.response.start'}],
    'body_is_text': [START, {'type': 'http.response.body', 'body': 'text'}],
    'headers_are_none': [{**START, 'headers': None}],
    'header_is_text': [{**START, 'headers': [('name', 'value')]}],
    'header_of_three': [{**START, 'headers': [(b'name', b'value', b'more')]}],
    'name_is_empty': [{**START, 'headers': [(b'', b'value')]}],
    'name_with_line_end': [{**START, 'headers': [(b'x\r\ninjected', b'value')]}],
    'name_with_colon': [{**START, 'headers': [(b'injected: x', b'value')]}],
    'name_with_nul': [{**START, 'headers': [(b'x\0', b'value')]}],
    'value_with_line_end': [{**START, 'headers': [(b'x', b'value\r\ninjected: 1')]}],
    'value_with_newline': [{**START, 'headers': [(b'x', b'value\ninjected: 1')]}],
    'value_with_nul': [{**START, 'headers': [(b'x', b'value\0')]}],
    'length_is_none': [{**START, 'headers': [(b'content-length', b'five')]}],
    'length_is_negative': [{**START, 'headers': [(b'content-length', b'-5')]}],
    'too_long': [{**START, 'headers': [(b'content-length', b'2')]}, {'type': 'http.response.body', 'body': b'injected'}],
    'hint_with_line_end': [{'type': 'http.response.early_hint', 'links': [b'x\r\ninjected: 1']}],
    'trailers_unasked': [START, {'type': 'http.response.trailers', 'headers': []}],
    'pathsend_first': [{'type': 'http.response.pathsend', 'path': '/etc/passwd'}],
    'trailer_with_line_end': [{**START, 'trailers': True}, {'type': 'http.response.body', 'body': b''},
                              {'type': 'http.response.trailers', 'headers': [(b'x', b'1\r\ninjected: 1')]}],
}


async def wrong(scope, receive, send):
    for message in WRONG[scope['query_string'].decode()]:
        await send(message)


async def caught(scope, receive, send):
    """The same, and the application goes on."""
    messages = WRONG[scope['query_string'].decode()]
    try:
        for message in messages:
            await send(message)
    except Exception as error:
        text = f'{type(error).__name__}: {error}'.encode()
    if len(messages) == 1:
        await send(START)
    await send({'type': 'http.response.body', 'body': text})


async def show_seen(scope, receive, send):
    await answer(send, json.dumps(seen).encode())


async def two_receive(scope, receive, send):
    """As tasks, the first of which is cancelled: no part of the body is lost."""
    first = asyncio.create_task(receive())
    await asyncio.sleep(0)
    first.cancel()
    try:
        await first
    except asyncio.CancelledError:
        pass
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'cancelled', 'more_body': True})
    body, _ = await body_of(receive)
    await send({'type': 'http.response.body', 'body': body})


async def block(scope, receive, send):
    time.sleep(float(scope['query_string']))
    await answer(send, b'blocked')


async def deep(scope, receive, send):
    async def inner():
        await asyncio.sleep(60)

    await inner()


async def dump(scope, receive, send):
    await answer(send, uwsgi_tornado.dump().encode())


async def fibers(scope, receive, send):
    await answer(send, json.dumps(uwsgi_tornado.fibers()).encode())


async def application(scope, receive, send):
    if scope['type'] != 'http':
        raise RuntimeError('http only')
    path = scope['path'][len(scope['root_path']):].strip('/')
    await globals()[path or 'hello'](scope, receive, send)
