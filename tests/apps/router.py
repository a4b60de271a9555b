"""What the apps of the driver tests share: a WSGI app from functions of the query string."""


def serve(routes):
    """routes: {path: function of the number in the query string, giving text}."""

    def application(environ, start_response):
        body = str(routes[environ['PATH_INFO']](int(environ['QUERY_STRING'] or 0))).encode()
        start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
        return [body]

    return application
