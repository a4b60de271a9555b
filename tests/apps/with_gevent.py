"""Uses gevent without its patches, as an application may that was not migrated whole."""
import time

import gevent


def sleep():
    gevent.sleep(0.3)
    return b'slept'


def spawn():
    jobs = [gevent.spawn(pow, 2, n) for n in range(3)]
    gevent.joinall(jobs)
    return b' '.join(b'%d' % job.value for job in jobs)


def timeout():
    """A blocking call inside: gevent's loop does not run in it, so that nothing ends it."""
    with gevent.Timeout(0.05):
        time.sleep(0.2)
    return b'not ended'


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [globals()[environ['PATH_INFO'][1:]]()]
