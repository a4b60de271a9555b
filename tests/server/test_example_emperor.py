"""examples/emperor: vassals come, change and go while their clients ask."""
import pathlib
import re
import shutil
import tempfile

import pytest

from clients import body_of, http
from conftest import command, free_port
from deployed import EXAMPLES, Program, deployed, in_flight, sanitized, without_requests
from steady_load import SteadyLoad
from test_reloads import make_newer


class Emperor(Program):
    def __init__(self, folder):
        self.transfers, self.hello = free_port(), free_port()
        deployed('emperor', folder, {'127.0.0.1:9091': f'127.0.0.1:{self.transfers}', '127.0.0.1:9092': f'127.0.0.1:{self.hello}'})
        self.vassals = folder / 'vassals'
        shutil.move(self.vassals / 'hello.ini', folder / 'hello.ini')  # Comes later.
        uwsgi, *options = command()
        super().__init__(folder, *sanitized(), uwsgi, '--ini', str(folder / 'uwsgi.ini'),
                         *(word for plugin in options[1::2] for word in ('--vassal-set', f'plugin={plugin}')))

    def wait_until_serves(self, name, count=1):
        self.wait_for_log(f'vassal {name} is ready to accept requests', count=count)


@pytest.fixture
def emperor():
    with tempfile.TemporaryDirectory() as folder:
        running = Emperor(pathlib.Path(folder))
        yield running
        assert running.stop() == 0
        log = running.log()
        assert 'LEAK' not in log and log.count('removed uwsgi instance') == 2, without_requests(log)


def assert_hello(emperor):
    assert body_of(http(emperor.hello, '/')).startswith(b'hello from core ')


def test_the_emperor_waits_for_longer_than_requests_have():
    folder = EXAMPLES / 'emperor'
    tolerance = int(re.search('^emperor-curse-tolerance = (.*)', (folder / 'uwsgi.ini').read_text(), re.MULTILINE)[1])
    mercy = int(re.search('^worker-reload-mercy = (.*)', (folder / 'vassal.ini').read_text(), re.MULTILINE)[1])
    assert tolerance >= mercy + 10


@pytest.mark.smoke
def test_vassals_come_change_and_go_while_clients_ask(emperor):
    file = emperor.vassals / 'transfers.ini'
    emperor.wait_until_serves(file.name)
    with SteadyLoad(emperor.transfers, '/', clients=10) as load:
        load.wait_for_answers(20)
        shutil.copy(emperor.log_path.parent / 'hello.ini', emperor.vassals)
        emperor.wait_until_serves('hello.ini')
        assert_hello(emperor)
        with in_flight(emperor.transfers):
            make_newer(file)
            emperor.wait_for_log('racefully killing worker 1')
        emperor.wait_until_serves(file.name, count=2)
        load.wait_for_answers(20)
    assert len(load.pids) >= 2
    assert 'tornado: 200 cores on fibers' in emperor.log() and '*** Operational MODE: preforking+threaded ***' in emperor.log()
    with in_flight(emperor.transfers):
        file.unlink()
        emperor.wait_for_log('was told to end')
        assert_hello(emperor)
    emperor.wait_for_log('removed uwsgi instance transfers.ini')
    with pytest.raises(ConnectionRefusedError):
        http(emperor.transfers, '/')
    assert_hello(emperor)
