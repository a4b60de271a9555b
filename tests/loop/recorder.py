"""A protocol that notes what it is told, and waiting for that."""
import asyncio


class Recorder(asyncio.Protocol):
    """Notes what it is told; `act` has functions to call with the transport as it is told so."""

    def __init__(self, **act):
        self.told, self.received, self.act = [], b'', act
        self.lost = asyncio.Event()

    def does(self, what, *more):
        self.told.append((what, *more))
        if what in self.act:
            return self.act[what](self.transport)

    def connection_made(self, transport):
        self.transport = transport
        self.does('made')

    def data_received(self, data):
        assert type(data) is bytes
        self.received += data
        self.does('data')

    def eof_received(self):
        return self.does('eof')

    def pause_writing(self):
        self.does('pause')

    def resume_writing(self):
        self.does('resume')

    def connection_lost(self, error):
        self.lost.set()
        self.does('lost', error)

    @property
    def names(self):
        """What it was told, each row of 'data' once."""
        names = [what for what, *_ in self.told]
        return [name for name, before in zip(names, [None] + names) if (name, before) != ('data', 'data')]


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):
    """The same, with a buffer that it brings."""

    def __init__(self, room, **act):
        super().__init__(**act)
        self.room = room

    def get_buffer(self, size_hint):
        if 'get_buffer' in self.act:
            return self.act['get_buffer'](self.transport)
        return self.room

    def buffer_updated(self, count):
        self.received += self.room[:count]
        self.does('data')


def raising(error):
    def act(transport):
        raise error
    return act


def turn(loop, turns=1):
    for _ in range(turns):
        loop.call_soon(loop.stop)
        loop.run_forever()


def until(loop, is_true):
    for _ in range(100_000):
        if is_true():
            return
        turn(loop)
    raise AssertionError('it never came true')


def lost(loop, protocol):
    until(loop, protocol.lost.is_set)
    return next(told[1] for told in protocol.told if told[0] == 'lost')
