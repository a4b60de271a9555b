"""compared.py's questions to a server of ASGI applications: the same calls, but what waits is awaited where there is something to await."""
import asyncio

import compared


async def met(path):
    """Calls that block are made as they are: whoever has them in such an application sees this."""
    return compared.met(compared.MEETINGS[path])


async def keeps_its_local(_):
    compared.held.request = mine = object()
    for _ in range(compared.ROUNDS):
        await asyncio.sleep(compared.EACH_S)
    return compared.held.request is mine


async def deadline(_):
    try:
        await asyncio.wait_for(asyncio.sleep(60), compared.EACH_S)
    except asyncio.TimeoutError:
        return True


async def leaves(receive):
    compared.say('leaves: begun')
    await receive()  # The request's body.
    try:
        await asyncio.wait_for(receive(), compared.ROUNDS * compared.EACH_S)
        compared.say('leaves: told by receive()')
    except asyncio.TimeoutError:
        compared.say('leaves: not told')
    return True


async def client(_):
    return await compared.shared_client() == 'answer'


async def patched(_):
    return compared.is_patched()


QUESTIONS = {'/local': keeps_its_local, '/deadline': deadline, '/leaves': leaves, '/client': client, '/patched': patched}


async def application(scope, receive, send):
    if scope['type'] == 'websocket':
        await receive()
        await send({'type': 'websocket.accept'})
        message = await receive()
        await send({'type': 'websocket.send', 'text': message['text']})
        await send({'type': 'websocket.close'})
    elif scope['type'] == 'http':
        path = scope['path']
        answer = await (met(path) if path in compared.MEETINGS else QUESTIONS[path](receive))
        await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/plain')]})
        await send({'type': 'http.response.body', 'body': b'yes' if answer else b'no'})
