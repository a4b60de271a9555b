"""uwsgi.lock() and its kin: requests that hold a lock while they wait, and those that want it."""
import asyncio
import os
import threading
import time

from waiting import released, serve, wait_for_release

import uwsgi
import uwsgi_tornado

wanting = inside = peak = 0
computing = False
order = []


def take_turns(number):
    global inside, peak
    uwsgi.lock(1)
    inside += 1
    peak = max(peak, inside)
    order.append(number)
    time.sleep(0.002)
    inside -= 1
    uwsgi.unlock(1)
    return peak


def hold(_):
    uwsgi.lock()
    wait_for_release()
    uwsgi.unlock()
    return 'held'


def want(number):
    global wanting
    wanting += 1
    uwsgi.lock()
    wanting -= 1
    order.append(number)
    time.sleep(0)
    uwsgi.unlock()
    return 'had'


def read(_):
    uwsgi.sharedarea_rlock(0)
    wait_for_release()
    uwsgi.sharedarea_unlock(0)
    return 'read'


def write(_):
    uwsgi.sharedarea_wlock(0)
    uwsgi.sharedarea_unlock(0)
    return 'written'


def compute(_):
    """Holds the lock and computes until /release."""
    global computing
    uwsgi.lock()
    computing = True
    while not released.is_set():
        pass
    uwsgi.unlock()
    return 'computed'


def add(path):
    """One more in a file that several workers count in."""
    uwsgi.lock()
    with open(path) as file:
        count = int(file.read() or 0)
    time.sleep(0.001)
    with open(path, 'w') as file:
        file.write(str(count + 1))
    uwsgi.unlock()
    return uwsgi.worker_id()


async def lock_on_the_loop():
    """What runs on the loop's own stack waits for requests, not beside them."""
    uwsgi.lock()
    await asyncio.sleep(0.01)
    uwsgi.unlock()
    return 'had on the loop'


def from_thread(_):
    """An OS thread of the application stops for it, and nobody else does."""
    got = []
    thread = threading.Thread(target=lambda: (uwsgi.lock(), got.append('had in a thread'), uwsgi.unlock()))
    thread.start()
    thread.join()
    return got[0]


def unguarded(_):
    """A lock that is free can be had where nothing may wait."""
    with uwsgi_tornado.no_suspend():
        uwsgi.lock()
        time.sleep(0.001)
        uwsgi.unlock()
    return 'had'


def stop(_):
    """Wants, where nothing may wait, what another request holds: the worker stops, and says so."""
    with uwsgi_tornado.no_suspend():
        uwsgi.lock()


def lock_only(_):
    uwsgi.lock()
    return 'locked'


def unlock_only(_):
    uwsgi.unlock()
    return 'unlocked'


def fork(_):
    """A child has the locks of a process: none of the worker's requests stands in its way."""
    pid = os.fork()
    if pid == 0:
        uwsgi.lock(2)
        uwsgi.unlock(2)
        os._exit(0 if not uwsgi.is_locked(2) else 1)
    return os.waitpid(pid, 0)[1]


application = serve({
    '/take_turns': take_turns, '/hold': hold, '/read': read, '/write': write, '/want': want, '/wanting': lambda _: wanting, '/compute': compute,
    '/computing': lambda _: computing, '/order': lambda _: ' '.join(order), '/add': add,
    '/is_locked': lambda number: uwsgi.is_locked(int(number)),
    '/on_the_loop': lambda _: uwsgi_tornado.await_(lock_on_the_loop()), '/from_thread': from_thread,
    '/unguarded': unguarded, '/stop': stop, '/lock_only': lock_only, '/unlock_only': unlock_only, '/fork': fork,
})
