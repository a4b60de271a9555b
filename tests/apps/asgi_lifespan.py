"""ASGI applications with lifespans of several kinds, chosen by LIFESPAN."""
import asyncio
import os
import sys

import uwsgi_tornado


def say(*words):
    print('LIFESPAN', *words, file=sys.stderr, flush=True)


async def lifespan(scope, receive, send, name):
    assert scope['asgi']['version'] == '3.0'
    assert await receive() == {'type': 'lifespan.startup'}
    kind = os.environ.get('LIFESPAN', '')
    if kind == 'raises':
        raise ValueError('unknown to it')
    if kind == 'fails':
        await send({'type': 'lifespan.startup.failed', 'message': 'no database'})
        return
    await asyncio.sleep(0.2)
    say(name, 'started')
    scope['state']['name'] = name
    scope['state']['shared'] = []
    await send({'type': 'lifespan.startup.complete'})
    assert await receive() == {'type': 'lifespan.shutdown'}
    assert uwsgi_tornado.stopping.is_set()
    await asyncio.sleep(0.2)
    if kind == 'shutdown fails':
        await send({'type': 'lifespan.shutdown.failed', 'message': 'no end'})
        return
    if kind == 'shutdown raises':
        raise ValueError('within the shutdown')
    if kind == 'shutdown hangs':
        await asyncio.sleep(600)
    say(name, 'ended')
    await send({'type': 'lifespan.shutdown.complete'})


def make(name):
    async def app(scope, receive, send):
        if scope['type'] == 'lifespan':
            await lifespan(scope, receive, send, name)
            return
        if scope['path'].endswith('/slow'):
            await asyncio.sleep(0.5)
            say('slow request ended')
        state = scope.get('state', {})
        state.setdefault('requests', 0)
        state['requests'] += 1
        if 'shared' in state:
            state['shared'].append(1)
        body = f"{state.get('name')} {state['requests']} {len(state.get('shared', ()))}".encode()
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        await send({'type': 'http.response.body', 'body': body})

    return app


application = make('first')
second = make('second')
