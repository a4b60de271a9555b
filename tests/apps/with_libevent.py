"""A request calls a library that uses libevent; LIBRARY names it."""
import ctypes
import os

from router import serve

library = ctypes.CDLL(os.environ['LIBRARY'])

application = serve({'/timers': library.fire_timers, '/once': lambda n: library.fire_once()})
