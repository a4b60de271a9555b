"""A raw application: it is given the descriptor and speaks what it likes."""
import os
import socket
import time


def application(fd):
    with socket.socket(fileno=os.dup(fd)) as connection:
        connection.settimeout(10)
        said = connection.recv(100)
        time.sleep(0.2)
        connection.sendall(said[::-1])
    return b''
