"""A raw application: it is given the descriptor and speaks what it likes."""
import os
import socket
import time


def chunks():
    yield b'first '
    raise SystemExit('as asked, in a chunk')


def application(fd):
    with socket.socket(fileno=os.dup(fd)) as connection:
        connection.settimeout(10)
        said = connection.recv(100)
        if said == b'exit':
            raise SystemExit('as asked, at once')
        if said == b'iterate':
            return chunks()
        if said == b'pid':
            return [b'%d ' % os.getpid(), b'it is']
        time.sleep(0.2)
        connection.sendall(said[::-1])
    return b''
