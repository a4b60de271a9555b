"""A chat by long poll in plain threading code: nothing in it knows the engine."""
import collections
import json
import os
import threading
import urllib.parse

WAIT_S = float(os.environ.get('SECONDS', 25))  # Less than proxies wait.
LONGEST = 4096

messages = collections.deque(maxlen=100)
news = threading.Condition()  # Of `messages`.


def newer_than(number):
    return [message for message in messages if message['number'] > number]


def say(text):
    with news:
        messages.append({'number': messages[-1]['number'] + 1 if messages else 1, 'text': text})
        news.notify_all()
        return messages[-1]


def poll(number):
    """The messages after that number, as soon as there are any; none after WAIT_S."""
    with news:
        return news.wait_for(lambda: newer_than(number), timeout=WAIT_S)


def application(environ, start_response):
    if environ['REQUEST_METHOD'] == 'POST':
        found = say(environ['wsgi.input'].read(LONGEST).decode(errors='replace'))
    else:
        asked = urllib.parse.parse_qs(environ['QUERY_STRING'])
        found = poll(int(asked.get('after', ['0'])[0]))
    start_response('200 OK', [('Content-Type', 'application/json'), ('Cache-Control', 'no-store')])
    return [json.dumps(found).encode() + b'\n']
