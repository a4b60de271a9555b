"""Keeps the handle of a call that comes after the worker's end."""
import asyncio


class Keeper:
    def __init__(self):
        self.handle = None

    def __call__(self, environ, start_response):
        self.handle = asyncio.get_event_loop().call_later(3600, self.later, bytearray(10))
        start_response('200 OK', [])
        return [b'kept']

    def later(self, data):
        pass


application = Keeper()
