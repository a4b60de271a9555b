"""Fetches without a request, and what a drained worker does about them."""
import asyncio
import os
import sys

import uwsgi_tornado

UPSTREAM = os.environ['UPSTREAM']


async def fetch_later():
    response = await uwsgi_tornado.fetch_async(UPSTREAM)
    print('the task has fetched', response.body.decode(), file=sys.stderr, flush=True)


async def stream_for_ever():
    async with await uwsgi_tornado.fetch_async(UPSTREAM + '/endless', stream=True) as response:
        print('the stream begins', file=sys.stderr, flush=True)
        async for _ in response:
            pass


tasks = set()


def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/watched':
        try:
            uwsgi_tornado.fetch(UPSTREAM + '/watched', while_connected=True)
        except uwsgi_tornado.ClientDisconnected as error:
            print('disconnected:', error, isinstance(error, Exception), file=sys.stderr, flush=True)
        body = b'too late'
    elif path == '/pipelined':
        body = uwsgi_tornado.fetch(UPSTREAM, while_connected=True).body
    elif path == '/fetch':
        body = uwsgi_tornado.fetch(UPSTREAM).body
    else:
        work = {'/task': fetch_later, '/stream': stream_for_ever}[path]
        loop = asyncio.get_event_loop()
        tasks.add(loop.create_task(work()))
        body = b'begun'
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [body]
