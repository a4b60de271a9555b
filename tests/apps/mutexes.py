"""A mutex inside a C library, SQLite's own, held while the request waits."""
import ctypes
import sqlite3
import time

from router import serve

import uwsgi_tornado

assert sqlite3  # So that the library is loaded.
LIBRARY = 'libsqlite3.so.0'
without_gil, with_gil = ctypes.CDLL(LIBRARY), ctypes.PyDLL(LIBRARY)
for library in (without_gil, with_gil):
    library.sqlite3_mutex_alloc.restype = ctypes.c_void_p
    library.sqlite3_mutex_enter.argtypes = library.sqlite3_mutex_leave.argtypes = [ctypes.c_void_p]
MUTEXES = {'fast': without_gil.sqlite3_mutex_alloc(0), 'recursive': without_gil.sqlite3_mutex_alloc(1)}

inside = {'fast': 0, 'recursive': 0}
peak = {'fast': 0, 'recursive': 0}


def hold(kind, library, wait_s=0.005):
    mutex = MUTEXES[kind]
    library.sqlite3_mutex_enter(mutex)
    inside[kind] += 1
    peak[kind] = max(peak[kind], inside[kind])
    time.sleep(wait_s)
    inside[kind] -= 1
    library.sqlite3_mutex_leave(mutex)


def take_turns(kind):
    def view(n):
        hold(kind, (with_gil, without_gil)[n % 2])
        return f'{n} {peak[kind]}'
    return view


def hold_long(n):
    hold('recursive', without_gil, 5)
    return 'held'


def under_guard(n):
    with uwsgi_tornado.no_suspend():
        hold('recursive', without_gil)
    return 'entered'


application = serve({'/fast': take_turns('fast'), '/recursive': take_turns('recursive'),
                     '/hold_long': hold_long, '/under_guard': under_guard,
                     '/inside': lambda n: inside['recursive']})
