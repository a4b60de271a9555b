"""Applications of Tornado's interface, by all of its ways."""
from tornado import httputil, routing, web
from tornado.httpserver import HTTPServer


def respond(connection):
    connection.write_headers(httputil.ResponseStartLine('HTTP/1.1', 200, 'OK'), httputil.HTTPHeaders({'Content-Length': '7'}), b'Tornado')
    connection.finish()


class Handler(web.RequestHandler):
    def get(self):
        self.write('Tornado')


class Delegate(httputil.HTTPMessageDelegate):
    def __init__(self, connection):
        self.connection = connection

    def finish(self):
        respond(self.connection)


class Router(routing.Router):
    def find_handler(self, request, **kwargs):
        return Delegate(request.connection)


def answer(request):
    respond(request.connection)


application = web.Application([('/', Handler)])
server = HTTPServer(application)
router = Router()
rule_router = routing.RuleRouter([routing.Rule(routing.PathMatches('/'), application)])
of_a_function = HTTPServer(answer)
