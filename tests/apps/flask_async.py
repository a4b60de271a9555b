"""Flask as it is: a view that waits for asyncio, one that blocks."""
import asyncio
import time

from flask import Flask, g, request

application = Flask(__name__)


@application.before_request
def remember():
    g.own = request.query_string.decode()


@application.get('/async')
async def asynchronous():
    own = g.own
    await asyncio.sleep(0.1)
    assert g.own == own == request.query_string.decode()
    return own


@application.get('/sync')
def synchronous():
    own = g.own
    time.sleep(0.1)
    assert g.own == own == request.query_string.decode()
    return own
