"""ASGI's lifespan: an application's startup and shutdown."""
import asyncio
import sys
import traceback


class Lifespan:
    """The lifespan of one application. `started` and `ended` are futures; the result of `started` is an error text, or None."""

    def __init__(self, application, mount_point, loop):
        self.application = application
        self.mount_point = mount_point
        self.loop = loop
        self.state = {}
        self.started = loop.create_future()
        self.ended = loop.create_future()
        self.supported = False
        self.asked = loop.create_future()  # To shut down.
        self.received = 0
        self.task = loop.create_task(self.run())

    async def run(self):
        scope = {'type': 'lifespan', 'asgi': {'version': '3.0', 'spec_version': '2.0'}, 'state': self.state}
        try:
            await self.application(scope, self.receive, self.send)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.failed(error)
        finally:
            resolve(self.started)
            resolve(self.ended)
            self.loop.call_soon(nothing)  # The worker looks once a turn.

    def failed(self, error):
        if self.supported:
            self.say('its lifespan has failed:')
            traceback.print_exception(type(error), error, error.__traceback__)
        else:  # An application need not support it.
            self.say(f'is served without a lifespan: {type(error).__name__}: {error}')

    def say(self, text):
        print(f"tornado: the application of mount point '{self.mount_point}': {text}", file=sys.stderr, flush=True)

    async def receive(self):
        self.received += 1
        if self.received == 1:
            return {'type': 'lifespan.startup'}
        await asyncio.shield(self.asked)
        if self.received > 2:
            await self.loop.create_future()  # No more messages follow.
        return {'type': 'lifespan.shutdown'}

    async def send(self, message):
        kind = message['type']
        event, _, how = kind.rpartition('.')
        future = {'lifespan.startup': self.started, 'lifespan.shutdown': self.ended}.get(event)
        if future is None or how not in ('complete', 'failed'):
            raise RuntimeError(f'{kind}: not a lifespan message')
        if future.done() or (future is self.ended and not self.asked.done()):
            raise RuntimeError(f'{kind}: not expected now')
        self.supported = True
        text = message.get('message') or 'no reason given'
        if how == 'failed' and future is self.ended:
            self.say(f'its shutdown has failed: {text}')
        resolve(future, text if how == 'failed' and future is self.started else None)
        self.loop.call_soon(nothing)

    def why_not_started(self):
        """None until the startup is over; then the error, or an empty text."""
        return (self.started.result() or '') if self.started.done() else None

    def end(self):
        """Asks for the shutdown. Returns True once it is over."""
        if not self.started.done() or not self.supported:
            return True
        resolve(self.asked)
        return self.ended.done()


def resolve(future, result=None):
    if not future.done():
        future.set_result(result)


def nothing():
    pass
