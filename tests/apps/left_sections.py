"""Requests that leave sections of theirs open, and what comes after them."""
import asyncio
import time

from uwsgi_tornado import await_, no_suspend, shield, spawn

kept = []  # What would end the sections, were it closed.


def inside(section):
    with section():
        yield


def leave_open(section):
    generator = inside(section)
    next(generator)
    kept.append(generator)


def outcome_of(function, *args):
    try:
        return function(*args)
    except RuntimeError as error:
        return str(error)


def leave_no_suspend(_):
    leave_open(no_suspend)
    return outcome_of(wait, _)


def leave_shield(_):
    leave_open(shield)
    return 'left'


def wait(_):
    return await_(asyncio.sleep(0.01, 'waited'))


def wait_long(_):
    time.sleep(float(_))
    return 'waited'


def close(_):
    """The section of the request before ends here, in one of this request's own."""
    with no_suspend():
        closed = outcome_of(kept.pop().close)
        return f'{closed}\n{outcome_of(wait, None)}'


def in_spawned(_):
    left = spawn(leave_open, no_suspend)
    left.result()
    return spawn(wait, None).result()


def application(environ, start_response):
    answer = globals()[environ['PATH_INFO'].strip('/')](environ['QUERY_STRING'])
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer.encode()]
