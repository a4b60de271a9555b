"""What a reload is seen by: the process, and a module whose file changes."""
import os
import time

import changing


def application(environ, start_response):
    while environ['QUERY_STRING'] == 'hold' and not os.path.exists('release'):
        time.sleep(0.02)
    time.sleep(0.05)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'%d %s' % (os.getpid(), changing.TEXT.encode())]
