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
# One object for all threads: it gives each call a connection of its own. By default it does not wait
# for the reply to a set(), which a get() on another connection may then overtake.
pymemcache_client = pymemcache.PooledClient(('127.0.0.1', PORT), timeout=30, default_noreply=False)


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
