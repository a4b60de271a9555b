"""Functions of spawn(): each on a thread that ends with it, however many and however little memory there is."""
import threading
import time

import uwsgi_tornado

own = threading.local()


def mappings():
    with open('/proc/self/maps') as maps:
        return len(maps.readlines())


def napping(number):
    time.sleep(0.05)
    return number


def found_before():
    """What a function finds that an earlier one has left with its thread."""
    return vars(own).setdefault('number', threading.get_ident()) == threading.get_ident()


def left_after(count):
    """How many mappings more there are once `count` functions have been run, in fours."""
    before = mappings()
    for _ in range(count // 4):
        for future in [uwsgi_tornado.spawn(found_before) for _ in range(4)]:
            assert future.result()
    time.sleep(0.05)
    return mappings() - before


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    count = int(environ['QUERY_STRING'] or 0)
    if environ['PATH_INFO'] == '/left':
        return [str(left_after(count)).encode()]
    if environ['PATH_INFO'] == '/at_once':
        futures = [uwsgi_tornado.spawn(napping, number) for number in range(count)]
        return [str(sum(future.result() for future in futures)).encode()]
    return [b'hello']
