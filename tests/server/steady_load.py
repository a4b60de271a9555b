"""A steady load from many clients, and whoever was not answered."""
import asyncio
import threading
import time

import pytest


class SteadyLoad:
    """As a context: `clients` ask for `path` again and again, on a new connection each time or, with `keep`,
    on the same one for as long as the server lets them. At the end of the block each has had its last answer,
    and whatever failed fails the test."""

    def __init__(self, port, path, clients, keep=False):
        self.port, self.path, self.clients, self.keep = port, path, clients, keep
        self.answered, self.closes, self.failures, self.pids = 0, 0, [], set()
        self.slowest_s, self.ending = 0, False
        self.thread = threading.Thread(target=lambda: asyncio.run(self.ask_all()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, error, *_):
        self.ending = True
        self.thread.join(120)
        assert not self.thread.is_alive(), 'a client still waits for its answer'
        if error is None and self.failures:
            pytest.fail(f'{len(self.failures)} of {self.answered + len(self.failures)} failed: {self.failures[:5]}')

    def wait_for_answers(self, count, timeout_s=60):
        """Until so many more have been answered."""
        enough, deadline = self.answered + count, time.monotonic() + timeout_s
        while self.answered < enough and not self.failures:
            assert time.monotonic() < deadline, f'{self.answered} of {enough} answers'
            time.sleep(0.01)  # A poll of the condition above, not a guess at its time.

    async def ask_all(self):
        await asyncio.gather(*(self.ask_on() for _ in range(self.clients)))

    async def ask_on(self):
        line = None
        while not self.ending:
            stage = 'connect'
            try:
                if line is None:
                    line = await asyncio.open_connection('127.0.0.1', self.port)
                stage = 'answer'
                began = time.monotonic()
                closes = await asyncio.wait_for(self.ask(*line), 90)
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self.answered += 1
            except (OSError, EOFError, AssertionError, asyncio.TimeoutError) as error:
                self.failures.append(f'{stage}: {error!r}')
                closes = True
            if closes and line is not None:
                line[1].close()
                line = None
        if line is not None:
            line[1].close()

    async def ask(self, reader, writer):
        """One request; True when the connection is not to be used again."""
        connection = 'keep-alive' if self.keep else 'close'
        writer.write(f'GET {self.path} HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n'.encode())
        head = (await reader.readuntil(b'\r\n\r\n')).decode().lower()
        assert head.startswith('http/1.1 200 '), head
        body = await reader.readexactly(int(head.split('content-length: ')[1].split()[0]))
        pid, said = body.split()
        assert said == b'answered', body
        self.pids.add(int(pid))
        closes = 'connection: close' in head
        self.closes += closes
        return closes or not self.keep
