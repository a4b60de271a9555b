"""Whether a worker is as it was: the same process, every core, no descriptor more."""
import contextlib
import time


class Health:
    """Taken before the bad thing; well() after it. The app is bad.py."""

    def __init__(self, server, cores):
        self.server, self.cores = server, cores
        self.all_cores_serve()
        self.open_files = server.open_files()
        self.pid = server.get('/pid')[2]

    def all_cores_serve(self):
        results, _ = self.server.get_all([f'/together?{self.cores}'] * self.cores)
        assert [r[2] for r in results] == [b'hello'] * self.cores, results
        assert self.server.get('/leave')[0] == 200

    def assert_well(self):
        assert self.server.get('/pid')[2] == self.pid
        self.all_cores_serve()
        # The close of the last connection may still be under way.
        deadline = time.monotonic() + 10
        while self.server.descriptors() > len(self.open_files) and time.monotonic() < deadline:
            time.sleep(0.01)
        now = self.server.open_files()
        assert len(now) <= len(self.open_files), (self.open_files, now)


@contextlib.contextmanager
def unharmed(server, cores):
    """The worker is the same after the block as before."""
    health = Health(server, cores)
    yield
    health.assert_well()


def read_until(connection, text):
    """What came until that, and that. By single bytes, so that what follows is there for the next to read."""
    received = b''
    while not received.endswith(text):
        byte = connection.recv(1)
        assert byte, received
        received += byte
    return received


def closed_by_server(connection):
    """Reads to the end; the bytes, or b'' when the server reset the connection."""
    connection.settimeout(10)
    received = b''
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received
