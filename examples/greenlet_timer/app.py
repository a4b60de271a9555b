from tornado.httpclient import AsyncHTTPClient
import greenlet
import functools
import os
import time

# this gives us access to the main IOLoop (the same used by uWSGI)
from tornado.ioloop import IOLoop
io_loop = IOLoop.instance()

SERVICES = os.environ.get('SERVICES', "http://localhost:9191/services")
SECONDS = float(os.environ.get('SECONDS', 10))

def sleeper(me):
    #TIMED OUT
    # finally come back to WSGI callable
    me.switch()

# this is called at the end of the external HTTP request
def handle_request(me, response):
    if response.error:
        print("Error:", response.error)
        me.result = b"no answer\n"
    else:
        me.result = response.body
    # add another callback in the chain
    me.timeout = io_loop.add_timeout(time.time() + SECONDS, functools.partial(sleeper, me))

def application(e, sr):
    me = greenlet.getcurrent()
    http_client = AsyncHTTPClient()
    http_client.fetch(SERVICES, functools.partial(handle_request, me))
    # suspend the execution until an IOLoop event is available
    me.parent.switch()
    # unregister the timer
    io_loop.remove_timeout(me.timeout)
    sr('200 OK', [('Content-Type','text/plain')])
    return me.result
