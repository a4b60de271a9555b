"""A million preemptions: run by make soak-preempt, not with the tests.

SOAK_PREEMPTIONS   how many (default 1000000)
"""
import itertools
import os
import threading
import time

from test_isolation import expected_of_programs

PREEMPTIONS = int(os.environ.get('SOAK_PREEMPTIONS', '1000000'))
CLIENTS = 8
SEEDS = 60
REPORT_EVERY_S = 20


class Clients:
    """Ask for programs that compute, one after another, until told to stop."""

    def __init__(self, running):
        self.running = running
        self.expected = expected_of_programs(range(SEEDS))
        self.seeds = itertools.count()
        self.wrong = []
        self.answered = 0
        self.stopping = False
        self.threads = [threading.Thread(target=self.ask, daemon=True) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def ask(self):
        while not self.stopping:
            seed = next(self.seeds) % SEEDS
            try:
                body = self.running.get(f'/compute?{seed}', timeout_s=120)[2].decode()
            except OSError as error:
                body = repr(error)
            self.answered += 1
            if body != self.expected[seed]:
                self.wrong.append((seed, body))
                self.stopping = True

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(130)


def test_preemptions_by_the_million_change_no_result(server):
    running = server('programs.py', '--tornado-quantum', '0.1', '--disable-logging')
    clients = Clients(running)
    started = reported = time.monotonic()
    preempted = 0
    while preempted < PREEMPTIONS and not clients.stopping:
        time.sleep(1)
        preempted = int(running.get('/preempted')[2])
        if time.monotonic() - reported > REPORT_EVERY_S or preempted >= PREEMPTIONS:
            reported = time.monotonic()
            print(f'{preempted} preemptions, {clients.answered} programs in {reported - started:.0f} s', flush=True)
    clients.stop()
    assert not clients.wrong, (clients.wrong[0], running.log[-3000:])
    assert running.process.poll() is None
