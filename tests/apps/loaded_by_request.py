"""An application that a request names, and that waits as it is loaded: in a child process, a sleep, a computation."""
import os
import subprocess
import time

said = subprocess.run(['/bin/echo', 'from a child'], capture_output=True, text=True).stdout.strip()
time.sleep(0.2)
until = time.monotonic() + 0.1
while time.monotonic() < until:
    pass
with os.popen('echo and another') as pipe:
    said += ' ' + pipe.read().strip()
print('loaded', __name__, flush=True)


def application(environ, start_response):
    time.sleep(0.05)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [said.encode()]
