"""One request asks many upstreams at once, and says which of them failed."""
import asyncio
import json
import os

import httpx
from uwsgi_tornado import await_, gather_

SERVICES = os.environ.get(
    'SERVICES', 'http://127.0.0.1:9090/slow?1 http://127.0.0.1:9090/slow?2 http://127.0.0.1:9090/slow?9 http://127.0.0.1:1/').split()
DEADLINE_S = 3

# One for the worker, whose event loop is always the same: connections are kept.
client = httpx.AsyncClient(timeout=DEADLINE_S, limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100))


async def ask(url):
    response = await client.get(url)
    response.raise_for_status()
    return response.text


async def first_of(urls):
    """The answer of the one that answers first; the others are given up."""
    tasks = [asyncio.ensure_future(ask(url)) for url in urls]
    try:
        for task in asyncio.as_completed(tasks, timeout=DEADLINE_S):
            try:
                return {'answer': await task}
            except httpx.HTTPError:
                pass  # The next may do better.
            except asyncio.TimeoutError:
                break
    finally:
        for task in tasks:
            task.cancel()


def all_of(urls):
    """What each has answered by the deadline, and why the others have not."""
    results = gather_(*[asyncio.wait_for(ask(url), DEADLINE_S) for url in urls], return_exceptions=True)
    answers = {url: result for url, result in zip(urls, results) if not isinstance(result, BaseException)}
    failed = {url: type(result).__name__ for url, result in zip(urls, results) if isinstance(result, BaseException)}
    return {'answers': answers, 'failed': failed} if answers else None


def slow(environ):
    """An upstream to try it with."""
    seconds = int(environ['QUERY_STRING'])
    await_(asyncio.sleep(seconds))
    return f'slept {seconds} s'


def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/slow':
        found = slow(environ)
    elif path == '/first':
        found = await_(first_of(SERVICES))
    else:
        found = all_of(SERVICES)
    start_response('502 Bad Gateway' if found is None else '200 OK', [('Content-Type', 'application/json')])
    return [json.dumps(found).encode() + b'\n']
