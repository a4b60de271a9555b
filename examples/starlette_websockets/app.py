"""A chat: Starlette's routes and websockets, one set of members for each worker."""
import asyncio

from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

members = set()
messages = []


async def say(text):
    messages.append(text)
    await asyncio.gather(*(member.send_text(text) for member in members), return_exceptions=True)


async def post(request):
    await say((await request.body()).decode())
    return JSONResponse(messages)


async def ticks(request):
    """Streams ten lines a second."""
    async def lines():
        for number in range(5):
            yield f'{number}\n'
            await asyncio.sleep(0.1)

    return StreamingResponse(lines(), media_type='text/plain')


async def chat(websocket):
    await websocket.accept()
    members.add(websocket)
    try:
        async for text in websocket.iter_text():
            await say(text)
    finally:
        members.discard(websocket)


app = Starlette(routes=[Route('/', post, methods=['GET', 'POST']), Route('/ticks', ticks), WebSocketRoute('/chat', chat)])
