"""Queues and shared areas: requests that pass things to each other and wait for updates."""
import time

from waiting import serve, wait_for_release

import uwsgi

wanting = inside = peak = 0


# --- The queue ---

def push(text):
    return uwsgi.queue_push(text.encode())


def pull(_):
    """Waits for something in the queue."""
    global wanting
    wanting += 1
    while (message := uwsgi.queue_pull()) is None:
        time.sleep(0.005)
    wanting -= 1
    return message


def every_queue_function(_):
    for number in range(4):
        uwsgi.queue_push(b'%d' % number)
    said = [uwsgi.queue_slot(), uwsgi.queue_pull_slot(), uwsgi.queue_get(1), uwsgi.queue_last(), uwsgi.queue_last(2),
            uwsgi.queue_pop(), uwsgi.queue_pull(), uwsgi.queue_set(7, b'seven'), uwsgi.queue_get(7), uwsgi.queue_get(9)]
    return said


# --- The shared area: 64 bits that count at 0, 8 that are read at 100 ---

def wait_for_update(query):
    """milliseconds between looks, seconds at most"""
    global wanting
    wanting += 1
    updated = uwsgi.sharedarea_wait(0, *map(int, query.split(',')))
    wanting -= 1
    return updated, uwsgi.sharedarea_read8(0, 100)


def update(number):
    uwsgi.sharedarea_write8(0, 100, int(number))
    return 'updated'


def add(_):
    """One more: reads and writes under the lock it holds over a wait."""
    global inside, peak
    uwsgi.sharedarea_wlock(0)
    inside += 1
    peak = max(peak, inside)
    count = uwsgi.sharedarea_read64(0, 0)
    time.sleep(0.001)
    uwsgi.sharedarea_write64(0, 0, count + 1)
    inside -= 1
    uwsgi.sharedarea_unlock(0)
    return peak


def read_together(_):
    """Readers share the lock, also with themselves."""
    uwsgi.sharedarea_rlock(0)
    wait_for_release()
    value = uwsgi.sharedarea_read64(0, 0)
    uwsgi.sharedarea_unlock(0)
    return value


def increment(_):
    global wanting
    wanting += 1
    uwsgi.sharedarea_inc64(0, 0, 1)
    wanting -= 1
    return 'incremented'


def wrong_waits(_):
    said = []
    for arguments in ((7,), (-1,), (0, -1), (0, 1, -1), ('area',)):
        try:
            uwsgi.sharedarea_wait(*arguments)
        except (TypeError, ValueError) as error:
            said.append(type(error).__name__)
    return said


application = serve({
    '/push': push, '/pull': pull, '/every_queue_function': every_queue_function, '/wanting': lambda _: wanting,
    '/wait_for_update': wait_for_update, '/update': update, '/add': add,
    '/sum': lambda _: uwsgi.sharedarea_read64(0, 0),
    '/read_together': read_together, '/increment': increment, '/wrong_waits': wrong_waits,
})
