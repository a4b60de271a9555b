"""compute.py, with places inside Tornado's functions."""
import socket

import uwsgi_tornado
from tornado import gen, iostream, template

import compute
from compute import application, moved


class SlowStream(iostream.IOStream):
    def write_to_fd(self, data):
        self.moved = moved()
        return super().write_to_fd(data)


def in_stream():
    here, peer = socket.socketpair()
    with peer:
        stream = SlowStream(here)
        stream.write(b'bytes')
        stream.close()
    return stream.moved


def in_coroutine():
    @gen.coroutine
    def computes():
        return moved()

    return uwsgi_tornado.await_(computes())


def beside_template():
    return int(template.Template('{{ moved() }}').generate(moved=moved))


for place in (in_stream, in_coroutine, beside_template):
    setattr(compute, place.__name__, place)
