"""Starlette's hello."""
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def hello(request):
    return PlainTextResponse('hello')

application = Starlette(routes=[Route('/hello', hello)])
