from tornado.httpclient import AsyncHTTPClient
import greenlet
import functools
import os

# this gives us access to the main IOLoop (the same used by uWSGI)
from tornado.ioloop import IOLoop
io_loop = IOLoop.instance()

SERVICES = os.environ.get('SERVICES', "http://localhost:9191/services")

# this is called at the end of the external HTTP request
def handle_request(me, response):
    if response.error:
        print("Error:", response.error)
        me.result = b"no answer\n"
    else:
        me.result = response.body
    # back to the WSGI callable
    me.switch()

def application(e, sr):
    me = greenlet.getcurrent()
    http_client = AsyncHTTPClient()
    http_client.fetch(SERVICES, functools.partial(handle_request, me))
    # suspend the execution until an IOLoop event is available
    me.parent.switch()
    sr('200 OK', [('Content-Type','text/plain')])
    return me.result
