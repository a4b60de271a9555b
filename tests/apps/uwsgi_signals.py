"""uWSGI signals by their decorators and by hand; their handlers wait in every way."""
import os
import socket
import time

import uwsgidecorators
from waiting import serve, wait_for_release

import uwsgi

HELD, TOLD, API, SECOND, WAITED_FOR = 101, 102, 103, 104, 105
UNREGISTERED, LATE = 106, 107
handled = dict.fromkeys((HELD, TOLD, API), 0)
wanting = 0
said = ''
shortest = 60.0


def tell(name):
    """Waits a moment, as any handler may."""
    time.sleep(0.01)
    print(f'{name} has run in worker {uwsgi.worker_id()}', flush=True)


@uwsgidecorators.timer(1)
def on_timer(_):
    tell('timer')


@uwsgidecorators.rbtimer(1)
def on_rbtimer(_):
    tell('rbtimer')


@uwsgidecorators.cron(-1, -1, -1, -1, -1)
def on_cron(_):
    tell('cron')


if 'SLOW_TICKS' in os.environ:
    @uwsgidecorators.timer(1)
    @uwsgidecorators.lock
    def on_slow_tick(_):
        """Takes longer than its period, and cannot run beside itself."""
        print('slow tick begins', flush=True)
        time.sleep(2.2)


if 'WATCHED' in os.environ:
    @uwsgidecorators.filemon(os.environ['WATCHED'])
    def on_change(_):
        tell('filemon')


@uwsgidecorators.signal(WAITED_FOR)
def on_waited_for(_):
    """The wait of signal_wait() ends after this."""
    time.sleep(0.05)
    handled['waited for'] = True


@uwsgidecorators.signal(SECOND, target='worker2')
def on_second(_):
    tell('second')


@uwsgidecorators.signal(HELD)
def on_held(number):
    wait_for_release()
    handled[number] += 1


@uwsgidecorators.signal(TOLD)
def on_told(number):
    handled[number] += 1


@uwsgidecorators.signal(API)
def on_api(number):
    """What waits in uWSGI itself works in a handler as it does in a request."""
    global said, shortest
    started = time.monotonic()
    uwsgi.async_sleep(0.2)
    uwsgi.suspend()
    slept = time.monotonic() - started
    sock, peer = socket.socketpair()
    uwsgi.wait_fd_write(sock.fileno(), 30)
    uwsgi.suspend()
    written = uwsgi.ready_fd() == sock.fileno()
    uwsgi.wait_fd_read(sock.fileno(), 1)
    uwsgi.suspend()
    timed_out = uwsgi.ready_fd() == -1
    uwsgi.wait_fd_read(sock.fileno())  # And ends without having waited for it.
    peer.send(b'x')
    uwsgi.lock()
    time.sleep(0.01)
    uwsgi.unlock()
    shortest = min(shortest, slept)
    said = f'{shortest:.3f} {written} {timed_out}'
    handled[number] += 1


def raise_and_compute(_):
    """Keeps the worker busy until the handler has run."""
    before = handled[TOLD]
    uwsgi.signal(TOLD)
    until = time.monotonic() + 20
    while handled[TOLD] == before and time.monotonic() < until:
        pass
    return 'handled' if handled[TOLD] > before else 'late'


def signal_wait(number):
    global wanting
    wanting += 1
    try:
        answer = uwsgi.signal_wait(int(number)) if number else uwsgi.signal_wait()
    except SystemError as error:
        return error
    finally:
        wanting -= 1
    return answer, uwsgi.signal_received(), handled.get('waited for', False)


def send(query):
    """A signal, to this server or to another."""
    number, *node = query.split(',')
    try:
        return uwsgi.signal(int(number), *node)
    except (OSError, ValueError) as error:
        return type(error).__name__


def add(_):
    """A signal and its timer, registered while serving."""
    registered = uwsgi.signal_registered(LATE)
    uwsgi.register_signal(LATE, 'worker', lambda _: tell('late timer'))
    uwsgi.add_rb_timer(LATE, 1, 1)
    return registered, uwsgi.signal_registered(LATE)


def fibers(_):
    import uwsgi_tornado
    return len(uwsgi_tornado.fibers())


application = serve({
    '/fibers': fibers,
    '/raise_and_compute': raise_and_compute, '/signal_wait': signal_wait, '/wanting': lambda _: wanting, '/send': send,
    '/handled': lambda number: handled[int(number)], '/said': lambda _: said, '/add': add,
})
