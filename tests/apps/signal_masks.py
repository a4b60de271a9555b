"""Requests with a signal mask of their own.

A route is a function of this module; its argument is the query, its result the body.
"""
import os
import signal
import subprocess
import threading
import time

MEET_S = 25
meeting = threading.Barrier(2)


def _blocked():
    return sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, []))


def own(query):
    """Blocks a signal, waits while another request looks at its own, and looks again."""
    before = _blocked()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    meeting.wait(MEET_S)
    time.sleep(0.05)
    meeting.wait(MEET_S)
    blocked = _blocked()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return str((before, blocked == [*before, int(signal.SIGUSR2)]))


def others(query):
    meeting.wait(MEET_S)
    blocked = _blocked()
    meeting.wait(MEET_S)
    return str(blocked)


def process(query):
    """Starts one, and computes beside the others that do."""
    for _ in range(int(query)):
        subprocess.run(['true'], check=True)
        sum(range(20_000))
    return 'started'


def pid(query):
    return str(os.getpid())


def application(environ, start_response):
    body = globals()[environ['PATH_INFO'][1:]](environ['QUERY_STRING']).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
