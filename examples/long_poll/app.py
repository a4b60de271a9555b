"""A chat by long poll in plain threading code, without any code for the engine."""
import collections
import json
import os
import threading
import urllib.parse

WAIT_S = float(os.environ.get('SECONDS', 25))  # Less than the timeouts of proxies.
LONGEST = 4096

messages = collections.deque(maxlen=100)
news = threading.Condition()  # Of `messages`.


def newer_than(number):
    if messages and number > messages[-1]['number']:
        number = 0  # From an earlier worker, whose messages are gone.
    return [message for message in messages if message['number'] > number]


def say(text):
    with news:
        messages.append({'number': messages[-1]['number'] + 1 if messages else 1, 'text': text})
        news.notify_all()
        return messages[-1]


def poll(number):
    """Returns the messages after that number, as soon as there are any, or none after WAIT_S."""
    with news:
        return news.wait_for(lambda: newer_than(number), timeout=WAIT_S)


def application(environ, start_response):
    if environ['REQUEST_METHOD'] == 'POST':
        found = say(environ['wsgi.input'].read(LONGEST).decode(errors='replace'))
    else:
        after = urllib.parse.parse_qs(environ['QUERY_STRING']).get('after', ['0'])[0]
        if not after.isdecimal():
            start_response('400 Bad Request', [('Content-Type', 'text/plain')])
            return [b'after which number?\n']
        found = poll(int(after))
    start_response('200 OK', [('Content-Type', 'application/json'), ('Cache-Control', 'no-store')])
    return [json.dumps(found).encode() + b'\n']
