"""Bottle: its request and response objects are threading.local."""
import time

import bottle


@bottle.route('/wait')
def wait():
    n = bottle.request.query_string
    bottle.response.set_header('X-Number', n)
    time.sleep(0.2)
    return f'{n} {bottle.request.query_string} {bottle.response.get_header("X-Number")}'


@bottle.route('/abort')
def abort():
    time.sleep(0.2)
    raise bottle.HTTPResponse(f'{bottle.request.query_string} aborted')


application = bottle.default_app()
