"""Libraries of the test's own, called in requests; LIBRARIES is their folder."""
import ctypes
import json
import os
import socket
import time

from router import serve

try:
    import uwsgi_tornado
except ImportError:  # On threads.
    uwsgi_tornado = None

FOLDER = os.environ['LIBRARIES']
NAP_MS = 50


def load_and_nap(_):
    return ctypes.CDLL(f'{FOLDER}/libloader.so').load_and_nap(b'libneighbour.so', NAP_MS)


def nap_alone(_):
    return ctypes.CDLL(f'{FOLDER}/libkeeper.so').nap_alone(NAP_MS)


def report(_):
    return json.dumps(uwsgi_tornado.blocking_report())


def through_proxy(_):
    with socket.create_connection(('made.up', 1), timeout=None) as connection:
        connection.sendall(b'x')
        return connection.recv(100).decode()


def sleep_long(_):
    began = time.monotonic()
    time.sleep(20)
    return time.monotonic() - began < 10


application = serve({'/load_and_nap': load_and_nap, '/nap_alone': nap_alone, '/report': report,
                     '/through_proxy': through_proxy, '/sleep_long': sleep_long})
