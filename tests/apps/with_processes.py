"""Child processes, file locks and names, as an app for threads would use them."""
import contextlib
import ctypes
import fcntl
import os
import socket
import subprocess
import threading
import time

from router import serve

LOCK_FILE = os.environ.get('LOCK_FILE')


def run(n):
    done = subprocess.run(['sh', '-c', f'sleep 1; echo out {n}; echo err {n} >&2; exit {n % 5}'],
                          capture_output=True, text=True)
    return f'{n} {done.returncode} {done.stdout.strip()} {done.stderr.strip()}'


def run_as(n):
    """The child changes who it is before it runs the program: each of the changes is told to all its threads."""
    done = subprocess.run(['sh', '-c', f'exit {n}'], user=os.getuid(), group=os.getgid(),
                          extra_groups=os.getgroups() if os.getuid() == 0 else None)
    return f'{n} {done.returncode}'


def communicate(n):
    """More through the pipes, both ways, than they hold."""
    text = str(n).encode() * 300_000
    process = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = process.communicate(text)
    return f'{n} {process.returncode} {out == text}'


def timeout(n):
    process = subprocess.Popen(['sleep', '30'])
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.kill()
        return f'{n} {process.wait()}'


def waitpid(n):
    pid = os.spawnlp(os.P_NOWAIT, 'sh', 'sh', '-c', f'sleep 1; exit {n}')
    waited, status = os.waitpid(pid, 0)
    return f'{n} {waited == pid} {os.waitstatus_to_exitcode(status)}'


def pidfds_of(pid):
    """The numbers that are descriptors of a process here."""
    for fd in os.listdir('/proc/self/fd'):
        try:
            with open(f'/proc/self/fdinfo/{fd}') as info:
                if f'Pid:\t{pid}\n' in info:
                    yield int(fd)
        except FileNotFoundError:
            pass


def watched():
    """The descriptors that those of epoll look at here."""
    for fd in os.listdir('/proc/self/fdinfo'):
        with contextlib.suppress(FileNotFoundError), open(f'/proc/self/fdinfo/{fd}') as info:
            yield from (int(line.split()[1]) for line in info if line.startswith('tfd:'))


def wait_with(close, n):
    """A descriptor is closed twice, and its number was that of the descriptor that announces the end of the
    process by then, if somebody waits so."""
    process = subprocess.Popen(['sh', '-c', f'read line; exit {n}'], stdin=subprocess.PIPE)

    def end():
        give_up = time.monotonic() + 5  # Where processes are waited for in another way.
        while not (waited_for := set(pidfds_of(process.pid)) & set(watched())) and time.monotonic() < give_up:
            time.sleep(0.01)
        for fd in waited_for:
            close(fd)
        process.stdin.close()
    closer = threading.Thread(target=end)
    closer.start()
    status = process.wait()
    closer.join()
    return f'{n} {status}'


def closed(n):
    return wait_with(os.close, n)


def closed_natively(n):
    """By a close() that nobody but the kernel hears of."""
    return wait_with(ctypes.CDLL(None).close, n)


def replaced_natively(n):
    """The number means another file at once, which is not closed for the first one's sake."""
    null = os.open(os.devnull, os.O_RDONLY)
    replaced = []

    def replace(fd):
        replaced.append(fd)
        ctypes.CDLL(None).dup2(null, fd)
    answer = wait_with(replace, n)
    for fd in replaced:
        os.close(fd)
    os.close(null)
    return answer


def fork(n):
    """The child goes on alone: its sleep blocks, as in any process."""
    pid = os.fork()
    if pid == 0:
        time.sleep(1)
        os._exit(n)
    _, status = os.waitpid(pid, 0)
    return f'{n} {os.waitstatus_to_exitcode(status)}'


def system(n):
    return f'{n} {os.waitstatus_to_exitcode(os.system(f"sleep 1; exit {n}"))}'


def pipe(n):
    with os.popen(f'sleep 1; echo {n}') as out:
        return out.read().strip()


def add_one(n):
    """Each opens the file for itself, so they lock one another out."""
    with open(LOCK_FILE, 'r+') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        value = int(file.read())
        time.sleep(0.01)
        file.seek(0)
        file.write(str(value + 1))
    return n


def getaddrinfo(n):
    *_, address = socket.getaddrinfo(f'{n}.slow.test', 80, type=socket.SOCK_STREAM)[0]
    return address[0]


def gethostbyname(n):
    return socket.gethostbyname(f'{n}.slow.test')


def create_connection(n):
    """The name is looked up on the way to a port where nobody listens."""
    try:
        socket.create_connection((f'{n}.slow.test', 1), timeout=10)
    except ConnectionRefusedError as error:
        return f'{n} {error.__class__.__name__}'


application = serve({f'/{view.__name__}': view for view in (
    run, run_as, communicate, timeout, waitpid, closed, closed_natively, replaced_natively, fork, system, pipe, add_one, getaddrinfo, gethostbyname,
    create_connection)})
