"""What a request does that a confined process might not be allowed to.

A route is a function of this module; its argument is the query, its result the body.
"""
import os
import time

NAP_S = 0.2


def nap(_):
    time.sleep(NAP_S)
    return 'rested'


def nap_in_c(library):
    """Of a library loaded now, in the confined process; one more for each who asks."""
    import ctypes
    ctypes.CDLL(library).nap(int(NAP_S * 1000))
    return 'rested'


def load_and_use(_):
    """Extension modules loaded now, and what each of them does with memory, processes and names."""
    import socket
    import sqlite3
    import ssl
    import subprocess
    import threading

    assert sqlite3.connect(':memory:').execute('select 1').fetchone() == (1,)
    assert ssl.create_default_context().cert_store_stats()['crl'] == 0
    assert socket.getaddrinfo('localhost', 80)
    assert subprocess.run(['/bin/echo', 'said'], stdout=subprocess.PIPE, check=True).stdout == b'said\n'
    thread = threading.Thread(target=time.sleep, args=[0.01])
    thread.start()
    thread.join()
    return 'used'


def endless(_):
    return sorted([1], key=endless)


def ids(_):
    return f'{os.getuid()} {os.getgid()}'


def top(_):
    return ' '.join(sorted(os.listdir('/')))


def application(environ, start_response):
    body = globals()[environ['PATH_INFO'][1:]](environ['QUERY_STRING']).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
