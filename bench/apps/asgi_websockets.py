"""Websockets of every ASGI contender: each message is echoed, or goes to all."""
connected = set()


async def echo(receive, send):
    while True:
        message = await receive()
        if message['type'] == 'websocket.disconnect':
            return
        await send({'type': 'websocket.send', 'text': message['text']})


async def broadcast(receive, send):
    connected.add(send)
    try:
        while True:
            message = await receive()
            if message['type'] == 'websocket.disconnect':
                return
            for send_to in list(connected):
                await send_to({'type': 'websocket.send', 'text': message['text']})
    finally:
        connected.discard(send)


async def application(scope, receive, send):
    if scope['type'] == 'http':
        await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'5')]})
        await send({'type': 'http.response.body', 'body': b'hello'})
        return
    if scope['type'] != 'websocket':
        return
    await receive()
    await send({'type': 'websocket.accept'})
    await (broadcast if scope['path'] == '/broadcast' else echo)(receive, send)
