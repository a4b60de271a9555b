"""Applications of each interface, and what is none."""
import functools


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'WSGI']


class Wsgi:
    """An application whose instances are what is iterated over (PEP 3333)."""

    def __init__(self, environ, start_response):
        start_response('200 OK', [('Content-Type', 'text/plain')])

    def __iter__(self):
        return iter([b'WSGI'])


async def asgi(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/plain')]})
    await send({'type': 'http.response.body', 'body': b'ASGI'})


class Asgi:
    async def __call__(self, scope, receive, send):
        await asgi(scope, receive, send)

    async def method(self, scope, receive, send):
        await asgi(scope, receive, send)


class Asgi2:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await asgi(self.scope, receive, send)


def asgi_2_function(scope):
    return functools.partial(asgi, scope)


@functools.wraps(asgi)
def decorated(*args, **kwargs):
    return asgi(*args, **kwargs)


def plain_asgi(scope, receive, send):
    return asgi(scope, receive, send)


async def of_four(one, two, three, four):
    pass


def of_four_plain(one, two, three, four):
    pass


wsgi_partial = functools.partial(application)
asgi_instance = Asgi()
asgi_method = Asgi().method
asgi_partial = functools.partial(asgi)
asgi_instance_partial = functools.partial(Asgi())
