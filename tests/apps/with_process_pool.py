"""Has a pool of processes that were started before there were connections to inherit."""
import concurrent.futures

from uwsgidecorators import postfork


@postfork
def start_processes():
    global processes
    processes = concurrent.futures.ProcessPoolExecutor(2)
    processes.submit(abs, 0).result()


def squares(count):
    return sum(number * number for number in range(count))


def application(environ, start_response):
    answer = processes.submit(squares, 1000).result()
    start_response('200 OK', [('Content-Type', 'text/plain')])  # Without a length the close is the end.
    return [b'%d' % answer]
