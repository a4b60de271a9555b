"""Work handed to other processes: the spooler, mules and farms, as uwsgidecorators has it."""
import os
import threading
import time

import uwsgi
import uwsgidecorators

here = {}


@uwsgidecorators.postfork
def note_worker():
    here['postfork'] = uwsgi.worker_id(), os.getpid()


@uwsgidecorators.postfork
@uwsgidecorators.thread
def count_beside():
    """A real thread of each worker's own, as long as it lives."""
    while True:
        here['count'] = here.get('count', 0) + 1
        time.sleep(0.01)


@uwsgidecorators.thread
def compute_beside(number):
    here[number] = threading.current_thread().name


@uwsgidecorators.spool(pass_arguments=True)
def spooled(number, word='none'):
    time.sleep(0.01)
    print(f'spooler {uwsgi.worker_id()} did {number} {word}', flush=True)


@uwsgidecorators.mulefunc(1)
def in_mule(number):
    time.sleep(0.01)
    print(f'mule {uwsgi.mule_id()} did {number}', flush=True)


def hand_to_spooler(number):
    spooled(number, word='well')
    return 'handed'


def hand_to_mule(number):
    in_mule(number)
    return 'handed'


def hand_to_farm(number):
    uwsgi.farm_msg('herd', number.encode())
    return 'handed'


def postfork(query):
    return str(here['postfork'] == (uwsgi.worker_id(), os.getpid()))


def beside(number):
    """Waits for what a real thread does."""
    before = here['count']
    compute_beside(number)
    while number not in here or here['count'] == before:
        time.sleep(0.001)
    return here[number].startswith('Thread-') and 'real thread'


def sleep(seconds):
    time.sleep(float(seconds))
    return 'slept'


def set_user_harakiri(seconds):
    uwsgi.set_user_harakiri(int(seconds))
    return sleep(60)


def user_harakiri_in_time(seconds):
    uwsgi.set_user_harakiri(2)
    sleep(seconds)
    uwsgi.set_user_harakiri(0)
    sleep(0.01)
    return 'in time'


def quick(query):
    return 'quick'


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [globals()[environ['PATH_INFO'].strip('/')](environ['QUERY_STRING']).encode()]
