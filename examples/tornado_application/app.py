import os

from uwsgidecorators import *
import tornado.web
import uwsgi

FIRST_PORT = int(os.environ.get('FIRST_PORT', 8000))

# this is our Tornado-managed app
class MainHandler(tornado.web.RequestHandler):
    def get(self):
        self.write("Hello, world")

t_application = tornado.web.Application([
    (r"/", MainHandler),
])

# here happens the magic, we bind after every fork()
@postfork
def start_the_tornado_servers():
    t_application.listen(FIRST_PORT + uwsgi.worker_id())

# this is our WSGI callable managed by uWSGI
def application(e, sr):
    sr('200 OK', [('Content-Type','text/plain')])
    return [b'worker %d also serves Tornado on port %d\n' % (uwsgi.worker_id(), FIRST_PORT + uwsgi.worker_id())]
