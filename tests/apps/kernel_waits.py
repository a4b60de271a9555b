"""Requests that wait in the kernel for one another: two at once to each path, one with ?0 and one with ?1."""
import os
import signal
import tempfile

import sysv_ipc

from router import serve

FOLDER = tempfile.mkdtemp()
FIFO = f'{FOLDER}/fifo'
os.mkfifo(FIFO)
READ_END, WRITE_END = os.pipe()
INTO, OUT_OF = os.pipe()
SEMAPHORE = sysv_ipc.Semaphore(None, sysv_ipc.IPC_CREX)
QUEUE = sysv_ipc.MessageQueue(None, sysv_ipc.IPC_CREX)
# All threads of a process that waits for a signal block it: those of this one are started later.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN + 5})


def fifo(n):
    with open(FIFO, 'rw'[n]) as file:
        return file.read() if n == 0 else file.write('through')


def semaphore(n):
    if n == 0:
        SEMAPHORE.acquire()
    else:
        SEMAPHORE.release()
    return 'done'


def queue(n):
    return QUEUE.receive(type=2)[0].decode() if n == 0 else QUEUE.send(b'through', type=2)


def sigwait(n):
    if n == 0:
        return int(signal.sigwait({signal.SIGRTMIN + 5})) - signal.SIGRTMIN
    return os.kill(os.getpid(), signal.SIGRTMIN + 5)


def system(n):
    return os.system(f'read line < {FIFO}; exit 3' if n == 0 else f'echo line > {FIFO}')


def splice(n):
    if n == 1:
        return os.write(WRITE_END, b'through')
    os.splice(READ_END, OUT_OF, 100)
    return os.read(INTO, 100).decode()


def end(_):
    SEMAPHORE.remove()
    QUEUE.remove()
    os.unlink(FIFO)
    os.rmdir(FOLDER)
    return 'ended'


WAYS = {'/fifo': fifo, '/semaphore': semaphore, '/queue': queue, '/sigwait': sigwait, '/system': system, '/splice': splice}
application = serve({**WAYS, '/end': end, '/hello': lambda n: 'hello'})
