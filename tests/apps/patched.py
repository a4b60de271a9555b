"""An application that has replaced the calls which suspend here by themselves."""
import gevent.monkey

gevent.monkey.patch_all()


def application(environ, start_response):
    start_response('200 OK', [])
    return [b'never served']
