"""Tells what the command line made of the process."""
import threading


def application(environ, start_response):
    ran = threading.Event()
    thread = threading.Thread(target=ran.set)
    thread.start()
    thread.join(10)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [f'multithread={environ["wsgi.multithread"]} thread_ran={ran.is_set()}'.encode()]
