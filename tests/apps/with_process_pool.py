"""Has a pool of processes that were started before there were connections to inherit."""
import concurrent.futures
import multiprocessing
import os
import sys

from uwsgidecorators import postfork


@postfork
def start_processes():
    global processes
    method = os.environ['START_METHOD']
    if method != 'fork':  # It starts sys.executable, which is uWSGI.
        multiprocessing.set_executable(os.path.join(sys.exec_prefix, 'bin', 'python3'))
    processes = concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method))
    processes.submit(abs, 0).result()


def application(environ, start_response):
    answer = processes.submit(sum, range(1000)).result()
    start_response('200 OK', [('Content-Type', 'text/plain')])  # Without a length the close is the end.
    return [b'%d' % answer]
