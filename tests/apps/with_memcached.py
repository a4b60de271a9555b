"""memcached with pylibmc (C), pymemcache and python-memcached, as an app for threads would use them."""
import os
import threading

import memcache
import pylibmc
import pymemcache

from router import serve

PORT = int(os.environ['MEMCACHED_PORT'])
local = threading.local()

# One object for all threads: it is a threading.local itself.
memcache_client = memcache.Client([f'127.0.0.1:{PORT}'], socket_timeout=30)
# One object for all threads: it gives each call a connection of its own.
pymemcache_client = pymemcache.PooledClient(('127.0.0.1', PORT), timeout=30)


def pylibmc_client():
    if not hasattr(local, 'client'):
        local.client = pylibmc.Client([f'127.0.0.1:{PORT}'], behaviors={'receive_timeout': 30_000_000})
    return local.client


def set_and_get(client, name, n):
    value = f'{name}-{n}-'.encode() * 2000
    client.set(f'{name}:{n}', value)
    got = client.get(f'{name}:{n}')
    return f'{n} {got == value}'


application = serve({
    '/pylibmc': lambda n: set_and_get(pylibmc_client(), 'pylibmc', n),
    '/pymemcache': lambda n: set_and_get(pymemcache_client, 'pymemcache', n),
    '/memcache': lambda n: set_and_get(memcache_client, 'memcache', n),
})
