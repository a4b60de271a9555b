"""overload.py for ASGI: a request that holds its core until its client says so, and one that tells who served it."""
import asyncio
import os

HEADERS = [(b'content-type', b'text/plain')]


async def hold(receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': HEADERS})
    await send({'type': 'http.response.body', 'body': b'%d ' % os.getpid(), 'more_body': True})
    while (await receive()).get('more_body'):
        pass
    await send({'type': 'http.response.body', 'body': b'let go'})


async def application(scope, receive, send):
    if scope['type'] != 'http':
        raise RuntimeError('http only')
    if scope['method'] == 'POST':
        return await hold(receive, send)
    if scope['query_string']:
        await asyncio.sleep(float(scope['query_string']))
    pid = str(os.getpid()).encode()
    await send({'type': 'http.response.start', 'status': 200, 'headers': [*HEADERS, (b'content-length', b'%d' % len(pid))]})
    await send({'type': 'http.response.body', 'body': pid})
