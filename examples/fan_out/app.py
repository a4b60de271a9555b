"""One request asks many upstreams at once, and says which of them failed."""
import asyncio
import json
import os
import time

import httpx
from uwsgi_tornado import await_, gather_

SERVICES = os.environ.get(
    'SERVICES', 'http://127.0.0.1:9090/slow?1 http://127.0.0.1:9090/slow?2 http://127.0.0.1:9090/slow?9 http://127.0.0.1:1/').split()
DEADLINE_S = float(os.environ.get('SECONDS', 3))

# One for the worker, whose event loop is always the same: connections are kept.
client = httpx.AsyncClient(limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100))


async def ask(url):
    """Returns the answer, or an exception, by the deadline."""
    response = await asyncio.wait_for(client.get(url), DEADLINE_S)
    response.raise_for_status()
    return response.text


def all_of(urls):
    """Returns the answers, and the reasons why others did not answer."""
    answers, failed = {}, {}
    for url, result in zip(urls, gather_(*map(ask, urls), return_exceptions=True)):
        if isinstance(result, Exception):
            failed[url] = f'{type(result).__name__}: {result}'
        else:
            answers[url] = result
    return {'answers': answers, 'failed': failed}


async def first_of(urls):
    """Returns the first answer, and cancels the other requests."""
    tasks = [asyncio.ensure_future(ask(url)) for url in urls]
    try:
        for answer in asyncio.as_completed(tasks):
            try:
                return {'answers': await answer}
            except (httpx.HTTPError, asyncio.TimeoutError):
                pass  # The next one may succeed.
        return {'answers': None}
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # Retrieves errors that are no longer of interest.


def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/slow' and environ['QUERY_STRING'].isdecimal():  # An upstream to try this with.
        time.sleep(int(environ['QUERY_STRING']))
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return [b'slept %s s' % environ['QUERY_STRING'].encode()]
    found = await_(first_of(SERVICES)) if path == '/first' else all_of(SERVICES)
    start_response('200 OK' if found['answers'] else '502 Bad Gateway', [('Content-Type', 'application/json')])
    return [json.dumps(found).encode() + b'\n']
