"""An application that has replaced the calls which suspend here by themselves."""
import os
import time

import uwsgi

SLOW_WORKER = os.environ.get('SLOW_WORKER')
if SLOW_WORKER == str(uwsgi.worker_id()):
    open('the slow worker imports', 'w').close()
    time.sleep(60)
while SLOW_WORKER and not os.path.exists('the slow worker imports'):
    time.sleep(0.01)

if os.environ.get('PATCHED_BY') == 'eventlet':  # What waits above is not patched yet.
    import eventlet

    eventlet.monkey_patch(**{name: True for name in os.environ.get('PATCHED', '').split()})
else:
    import gevent.monkey

    gevent.monkey.patch_all()


def application(environ, start_response):
    start_response('200 OK', [])
    return [b'never served']
