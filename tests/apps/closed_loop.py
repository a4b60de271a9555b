"""An application that closes the worker's event loop at import, as asyncio.run() closes its own."""
import asyncio

asyncio.get_event_loop().close()


def application(environ, start_response):
    start_response('200 OK', [])
    return [b'served']
