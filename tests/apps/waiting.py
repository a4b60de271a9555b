"""What the apps of the subsystem tests share: requests that wait until /release, counted by /count."""
import threading

HEADERS = [('Content-Type', 'text/plain')]
waiting = 0
released = threading.Event()


def wait_for_release():
    global waiting
    waiting += 1
    released.wait()
    waiting -= 1


def release(_):
    released.set()
    return 'released'


COMMON = {'/': lambda _: 'hello', '/count': lambda _: waiting, '/release': release}


def serve(routes):
    """routes: {path: function of the query string, giving bytes or what str() takes}."""
    routes = {**COMMON, **routes}

    def application(environ, start_response):
        body = routes[environ['PATH_INFO']](environ['QUERY_STRING'])
        start_response('200 OK', HEADERS)
        return [body if isinstance(body, bytes) else str(body).encode()]

    return application
