"""Redis with redis-py: one client for all threads, as its documentation has it."""
import os
import threading

import redis

try:
    from redis.connection import HiredisParser, PythonParser
except ImportError:  # From redis 5 on they are there under other names.
    from redis.connection import _HiredisParser as HiredisParser, _RESP2Parser as PythonParser

from router import serve

PORT = int(os.environ['REDIS_PORT'])


class App:
    def __init__(self, parser):
        # The pool gives each request that waits a connection of its own.
        self.client = redis.Redis(connection_pool=redis.ConnectionPool(
            port=PORT, parser_class=parser, decode_responses=True))
        # With fewer connections than requests, these wait for one another.
        self.few = redis.Redis(connection_pool=redis.BlockingConnectionPool(
            port=PORT, parser_class=parser, decode_responses=True, max_connections=10, timeout=20))

    def blpop(self, n):
        """Waits for an item that nobody pushes, then for one that a thread of Python's pushes."""
        nothing = self.client.blpop(f'none:{n}', timeout=0.1)
        threading.Timer(0.1, self.client.rpush, (f'some:{n}', n)).start()
        return f'{nothing} {self.client.blpop(f"some:{n}", timeout=10)}'

    def with_few(self, n):
        return self.few.blpop(f'none:{n}', timeout=0.1)

    def pipeline(self, n):
        with self.client.pipeline(transaction=True) as pipe:
            pipe.set(f'key:{n}', 'x' * 200_000).get(f'key:{n}').delete(f'key:{n}').incr('counter')
            done, text, deleted, _ = pipe.execute()
        return f'{n} {done} {len(text)} {deleted}'

    def subscribe(self, n):
        with self.client.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(f'channel:{n}')
            assert subscription.get_message(timeout=0.2) is None
            while self.client.publish(f'channel:{n}', f'hello {n}') == 0:
                pass  # Until the server has seen the subscription.
            message = subscription.get_message(timeout=10)
        return message['data']

    def lock(self, n):
        with self.client.lock('lock', timeout=30, sleep=0.01):
            value = int(self.client.get('locked') or 0)
            self.client.set('locked', value + 1)
        return n


APPS = {'hiredis': App(HiredisParser), 'python': App(PythonParser)}
application = serve({
    f'/{name}/{what}': getattr(app, what)
    for name, app in APPS.items()
    for what in ('blpop', 'with_few', 'pipeline', 'subscribe', 'lock')
})
