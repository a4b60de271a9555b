"""Flask: sync and async views, a request context across waits, and a client of requests in a view."""
import asyncio
import os
import threading
import time

import requests
from flask import Flask, Response, g, request, session, stream_with_context

app = Flask(__name__)
app.secret_key = 'for tests'
URL = os.environ['URL']


def number():
    return int(request.query_string)


@app.before_request
def remember():
    g.number = number()
    g.thread = threading.get_ident()


@app.route('/fetch')
def fetch():
    session['number'] = number()
    text = requests.get(f'{URL}/{g.number}', timeout=30).text
    return f'{g.number} {session["number"]} {number()} {text} {g.thread == threading.get_ident()}'


@app.route('/async')
async def asynchronous():
    await asyncio.gather(asyncio.sleep(0.2), asyncio.sleep(0.1))
    return f'{g.number} {number()}'


@app.route('/stream')
def stream():
    def parts():
        for part in range(4):
            time.sleep(0.05)
            yield f'{number()}.{part} '

    return Response(stream_with_context(parts()))


@app.route('/error')
def error():
    time.sleep(0.2)
    raise KeyError(g.number)


@app.errorhandler(KeyError)
def on_error(key):
    return f'{key.args[0]} {number()}'


@app.route('/run')
def run():
    """A whole event loop in one request, with a coroutine, a thread and a subprocess of its own."""

    async def main():
        process = await asyncio.create_subprocess_exec('echo', str(number()), stdout=asyncio.subprocess.PIPE)
        (text, _), blocked, _ = await asyncio.gather(
            process.communicate(), asyncio.to_thread(lambda: time.sleep(0.1) or number()), asyncio.sleep(0.2))
        return f'{int(text)} {blocked}'

    return asyncio.run(main())


application = app
