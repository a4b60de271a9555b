"""The application for uvicorn."""
import asyncio

HEADERS = [(b'content-type', b'text/plain')]


def work(rounds):
    value = 0
    for number in range(rounds):
        value = (value * 31 + number) % 1000003
    return value


async def application(scope, receive, send):
    if scope['type'] != 'http':
        return
    if scope['path'] == '/timer':
        await asyncio.sleep(0.1)
    if scope['path'] == '/stream':
        await send({'type': 'http.response.start', 'status': 200, 'headers': HEADERS})
        for _ in range(100):
            await send({'type': 'http.response.body', 'body': b'x' * 100, 'more_body': True})
        await send({'type': 'http.response.body', 'body': b''})
        return
    if scope['path'] == '/compute':
        work(int(scope['query_string']))
    await send({'type': 'http.response.start', 'status': 200, 'headers': [*HEADERS, (b'content-length', b'5')]})
    await send({'type': 'http.response.body', 'body': b'hello'})
