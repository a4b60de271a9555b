"""Messages from Redis as server-sent events, with plain redis-py and without any code for the engine."""
import os

import redis

CHANNEL = 'news'
SILENCE_S = 15  # Then the stream sends a comment, so that proxies keep it open and a disconnected client is noticed.

# Its pool gives each subscriber a connection of its own.
client = redis.Redis.from_url(os.environ.get('REDIS_URL', 'redis://127.0.0.1:6379'), decode_responses=True)


def event(text):
    return ''.join(f'data: {line}\n' for line in text.splitlines() or ['']).encode() + b'\n'


def events():
    yield b'retry: 1000\n\n'
    try:
        with client.pubsub() as subscription:
            subscription.subscribe(CHANNEL)
            while True:
                message = subscription.get_message(timeout=SILENCE_S)  # Suspends this request only.
                if message is None:
                    yield b': still here\n\n'
                elif message['type'] == 'subscribe':
                    yield b': subscribed\n\n'
                else:
                    yield event(message['data'])
    except redis.ConnectionError as error:
        print('Redis:', error)  # The stream ends; the browser connects again after `retry` milliseconds.


def publish(environ):
    text = environ['wsgi.input'].read(4096).decode(errors='replace')  # Invalid text would end all streams.
    return client.publish(CHANNEL, text)


def application(environ, start_response):
    if environ['REQUEST_METHOD'] == 'POST':
        try:
            answer = f'{publish(environ)} are told\n'
        except redis.ConnectionError as error:
            print('Redis:', error)
            start_response('503 Service Unavailable', [('Content-Type', 'text/plain')])
            return [b'not now\n']
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return [answer.encode()]
    start_response('200 OK', [('Content-Type', 'text/event-stream'), ('Cache-Control', 'no-store'), ('X-Accel-Buffering', 'no')])
    return events()
