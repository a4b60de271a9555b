"""An ASGI application of websockets that does what its path says."""
import asyncio
import json

seen = {'disconnects': [], 'errors': [], 'cancelled': 0}
members = set()
ACCEPT = {'type': 'websocket.accept'}


async def accepted(receive, send, **more):
    message = await receive()
    if message['type'] != 'websocket.connect':
        raise EOFError(message['type'])
    await send({**ACCEPT, **more})


async def messages(receive):
    while True:
        message = await receive()
        if message['type'] == 'websocket.disconnect':
            seen['disconnects'].append([message['code'], message['reason']])
            return
        yield message


async def echo(scope, receive, send):
    await accepted(receive, send)
    async for message in messages(receive):
        await send({**message, 'type': 'websocket.send'})


async def show_scope(scope, receive, send):
    await accepted(receive, send, subprotocol=scope['subprotocols'][0])
    shown = {key: value for key, value in scope.items() if key != 'state'}
    await send({'type': 'websocket.send', 'text': json.dumps(shown, default=lambda value: value.decode('latin-1'))})
    async for _ in messages(receive):
        pass


async def subprotocol(scope, receive, send):
    await accepted(receive, send, subprotocol=scope['subprotocols'][-1], headers=[(b'x-header', b'one'), (b'x-header', b'two')])
    await echo_rest(receive, send)


async def echo_rest(receive, send):
    async for message in messages(receive):
        await send({**message, 'type': 'websocket.send'})


async def close(scope, receive, send):
    await accepted(receive, send)
    await send({'type': 'websocket.close', 'code': 4001, 'reason': 'réason'})
    seen['disconnects'].append([(await receive())['code'], 'after close'])
    try:
        await send({'type': 'websocket.send', 'text': 'more'})
    except RuntimeError as error:
        seen['errors'].append(str(error))


async def close_before_accept(scope, receive, send):
    await receive()
    await send({'type': 'websocket.close', 'code': 4001})


async def deny(scope, receive, send):
    await receive()
    await send({'type': 'websocket.http.response.start', 'status': 401, 'headers': [(b'x-why', b'no ticket'), (b'content-length', b'10')]})
    await send({'type': 'websocket.http.response.body', 'body': b'no ', 'more_body': True})
    await send({'type': 'websocket.http.response.body', 'body': b'ticket!'})


async def raises_before(scope, receive, send):
    raise ValueError('raised before it was accepted')


async def returns_before(scope, receive, send):
    pass


async def raises_within(scope, receive, send):
    await accepted(receive, send)
    raise ValueError('raised within the websocket')


async def returns_within(scope, receive, send):
    await accepted(receive, send)


async def broadcast(scope, receive, send):
    """Sends all what one says, by a task of its own for each; never blocks on receive() alone."""
    await accepted(receive, send)
    members.add(send)
    try:
        async for message in messages(receive):
            await asyncio.gather(*(member({'type': 'websocket.send', 'text': message['text']}) for member in members))
    finally:
        members.discard(send)


async def deaf(scope, receive, send):
    """Does not receive."""
    await accepted(receive, send)
    await send({'type': 'websocket.send', 'text': 'deaf'})
    try:
        await asyncio.sleep(float(scope['query_string'] or 600))
    except asyncio.CancelledError:
        seen['cancelled'] += 1
        raise
    await echo_rest(receive, send)


async def flood(scope, receive, send):
    await accepted(receive, send)
    try:
        for number in range(1_000_000):
            await send({'type': 'websocket.send', 'bytes': bytes(10_000)})
            seen['sent'] = number
    except OSError as error:
        seen['errors'].append(type(error).__name__)
        raise


WRONG = {
    'send_first': [{'type': 'websocket.send', 'text': ''}],
    'accept_twice': [ACCEPT, ACCEPT],
    'http': [{'type': 'http.response.start', 'status': 200}],
    'empty': [ACCEPT, {'type': 'websocket.send'}],
    'both': [ACCEPT, {'type': 'websocket.send', 'text': '', 'bytes': b''}],
    'text_is_bytes': [ACCEPT, {'type': 'websocket.send', 'text': b'text'}],
    'bytes_are_text': [ACCEPT, {'type': 'websocket.send', 'bytes': 'text'}],
    'surrogates': [ACCEPT, {'type': 'websocket.send', 'text': '\ud800'}],
    'code': [ACCEPT, {'type': 'websocket.close', 'code': 1005}],
    'code_is_text': [ACCEPT, {'type': 'websocket.close', 'code': '1000'}],
    'reason': [ACCEPT, {'type': 'websocket.close', 'reason': 'x' * 124}],
    'subprotocol': [{**ACCEPT, 'subprotocol': 'x\r\ninjected: 1'}],
    'header': [{**ACCEPT, 'headers': [(b'x', b'\r\ninjected: 1')]}],
    'header_of_handshake': [{**ACCEPT, 'headers': [(b'Sec-WebSocket-Accept', b'injected')]}],
    'deny_after_accept': [ACCEPT, {'type': 'websocket.http.response.start', 'status': 401, 'headers': []}],
    'body_without_start': [{'type': 'websocket.http.response.body', 'body': b'injected'}],
}


async def wrong(scope, receive, send):
    await receive()
    for message in WRONG[scope['query_string'].decode()]:
        await send(message)


async def application(scope, receive, send):
    if scope['type'] == 'http':
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        await send({'type': 'http.response.body', 'body': json.dumps(seen).encode()})
    elif scope['type'] == 'websocket':
        await globals()[scope['path'].strip('/')](scope, receive, send)
    else:
        raise RuntimeError('no lifespan')
