"""Starlette: responses of every kind, a websocket, background tasks and plain endpoints."""
import asyncio
import contextlib

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

ran = []


async def hello(request):
    return PlainTextResponse('hello')


async def show(request):
    return JSONResponse({'path': request.url.path, 'query': dict(request.query_params), 'method': request.method,
                         'header': request.headers.get('x-some-header'), 'cookies': request.cookies, 'name': request.path_params.get('name'),
                         'started': request.state.__dict__['_state'].get('started')})


async def echo(request):
    return Response(await request.body(), media_type='application/octet-stream', headers={'x-type': request.headers.get('content-type', '')})


async def chunks():
    for number in range(5):
        yield f'chunk {number}\n'
        await asyncio.sleep(0)


async def stream(request):
    return StreamingResponse(chunks(), media_type='text/plain')


async def file(request):
    return FileResponse(__file__, media_type='text/plain')


async def cookies(request):
    response = PlainTextResponse('cookies', status_code=201)
    response.set_cookie('one', '1')
    response.set_cookie('two', '2', httponly=True)
    return response


def plain(request):
    return PlainTextResponse('of a plain function')


async def background(request):
    return PlainTextResponse('answered', background=BackgroundTask(ran.append, 1))


async def how_many_ran(request):
    return PlainTextResponse(str(len(ran)))


async def redirect(request):
    return RedirectResponse('/')


async def nothing(request):
    return Response(status_code=204)


async def websocket(websocket):
    await websocket.accept(subprotocol=websocket.scope['subprotocols'][0] if websocket.scope['subprotocols'] else None)
    async for text in websocket.iter_text():
        await websocket.send_text('you said ' + text)


@contextlib.asynccontextmanager
async def lifespan(started):
    started.state.started = True
    yield


application = Starlette(lifespan=lifespan, routes=[
    Route('/', hello), Route('/show/{name}', show), Route('/echo', echo, methods=['POST', 'PUT']),
    Route('/stream', stream), Route('/file', file), Route('/cookies', cookies),
    Route('/plain', plain), Route('/background', background), Route('/ran', how_many_ran), Route('/redirect', redirect),
    Route('/nothing', nothing), Mount('/mounted', routes=[Route('/show/{name}', show)]), WebSocketRoute('/ws', websocket)])
