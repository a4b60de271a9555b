"""What the apps of the subsystem tests share: requests that wait until /release, counted by /count, and
orders to the mule of lock_holder.py."""
import threading

import uwsgi

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


def tell_mule(order):
    uwsgi.mule_msg(order.replace('-', ' ').encode(), 1)
    return 'told'


COMMON = {'/': lambda _: 'hello', '/count': lambda _: waiting, '/release': release, '/tell_mule': tell_mule}


def serve(routes):
    """routes: {path: function of the query string, giving bytes or what str() takes}."""
    routes = {**COMMON, **routes}

    def application(environ, start_response):
        body = routes[environ['PATH_INFO']](environ['QUERY_STRING'])
        start_response('200 OK', HEADERS)
        return [body if isinstance(body, bytes) else str(body).encode()]

    return application
