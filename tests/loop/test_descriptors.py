"""add_reader and add_writer."""
import os
import socket

import pytest


@pytest.fixture
def pair():
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    yield a, b
    a.close()
    b.close()


def one_turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_a_reader_is_called_while_there_is_something_to_read(loop, pair):
    a, b = pair
    seen = []
    loop.add_reader(a, lambda *args: seen.append(args), 1, 2)
    one_turn(loop)
    assert seen == []
    b.send(b'x')
    one_turn(loop)
    one_turn(loop)
    assert seen == [(1, 2)] * 2
    a.recv(1)
    one_turn(loop)
    assert seen == [(1, 2)] * 2
    assert loop.remove_reader(a) is True and loop.remove_reader(a) is False


def test_a_writer_is_called_while_there_is_room(loop, pair):
    a, _ = pair
    seen = []
    loop.add_writer(a, seen.append, 1)
    one_turn(loop)
    assert seen == [1]
    assert loop.remove_writer(a) is True and loop.remove_writer(a) is False
    one_turn(loop)
    assert seen == [1]


def test_reader_comes_before_writer_of_the_same_descriptor(loop, pair):
    a, b = pair
    seen = []
    loop.add_writer(a, seen.append, 'writer')
    loop.add_reader(a, seen.append, 'reader')
    b.send(b'x')
    one_turn(loop)
    assert seen == ['reader', 'writer']
    loop.remove_reader(a)
    one_turn(loop)
    assert seen == ['reader', 'writer', 'writer']
    loop.remove_writer(a)


def test_descriptors_are_served_in_the_order_they_became_ready(loop):
    pairs = [socket.socketpair() for _ in range(10)]
    seen = []
    for number, (a, _) in enumerate(pairs):
        loop.add_reader(a, seen.append, number)
    order = [3, 7, 0, 9, 1, 8, 2, 6, 4, 5]
    one_turn(loop)
    for number in order:
        pairs[number][1].send(b'x')
    one_turn(loop)
    assert seen == order
    for a, b in pairs:
        loop.remove_reader(a)
        a.close()
        b.close()


def test_a_reader_replaces_the_one_before(loop, pair):
    a, b = pair
    seen = []
    loop.add_reader(a, seen.append, 'old')
    loop.add_reader(a.fileno(), seen.append, 'new')
    b.send(b'x')
    one_turn(loop)
    assert seen == ['new']
    loop.remove_reader(a)


def test_a_reader_removed_in_its_turn_is_not_called(loop, pair):
    a, b = pair
    seen = []
    loop.add_reader(a, lambda: (seen.append('a'), loop.remove_reader(b)))
    loop.add_reader(b, lambda: (seen.append('b'), loop.remove_reader(a)))
    a.send(b'x')
    b.send(b'x')
    one_turn(loop)
    assert len(seen) == 1
    loop.remove_reader(a)
    loop.remove_reader(b)


def test_both_ends_of_a_pipe(loop):
    reading, writing = os.pipe()
    seen = []
    loop.add_reader(reading, lambda: seen.append(os.read(reading, 10)))
    loop.add_writer(writing, lambda: (os.write(writing, b'data'), loop.remove_writer(writing)))
    one_turn(loop)
    one_turn(loop)
    assert seen == [b'data']
    os.close(writing)
    one_turn(loop)
    assert seen == [b'data', b'']
    loop.remove_reader(reading)
    os.close(reading)


def test_the_peers_end_is_something_to_read_and_to_write(loop, pair):
    a, b = pair
    seen = []
    loop.add_reader(a, seen.append, 'reader')
    loop.add_writer(a, seen.append, 'writer')
    b.close()
    one_turn(loop)
    assert seen == ['reader', 'writer']
    loop.remove_reader(a)
    loop.remove_writer(a)


@pytest.mark.parametrize('file, error', [(-1, ValueError), ('text', ValueError), (None, ValueError), (9999, OSError)])
def test_what_is_no_descriptor_is_refused(loop, file, error):
    with pytest.raises(error):
        loop.add_reader(file, print)


def test_a_regular_file_is_refused(loop):
    with open(__file__) as file, pytest.raises(PermissionError):
        loop.add_reader(file, print)


def test_a_socket_closed_while_watched_can_still_be_removed(loop):
    a, b = socket.socketpair()
    loop.add_reader(a, print)
    a.close()
    one_turn(loop)
    b.close()
    assert loop.remove_reader(a) is True


def test_a_descriptor_that_is_reused_is_watched_anew(loop):
    seen = []
    for number in range(5):
        a, b = socket.socketpair()
        loop.add_reader(a.fileno(), seen.append, number)
        b.send(b'x')
        one_turn(loop)
        loop.remove_reader(a.fileno())
        a.close()
        b.close()
    assert seen == [0, 1, 2, 3, 4]


def test_a_descriptor_of_a_transport_is_refused(loop, pair):
    import asyncio
    a, _ = pair

    async def main():
        reader, writer = await asyncio.open_connection(sock=a)
        with pytest.raises(RuntimeError, match='is used by transport'):
            loop.add_reader(a, print)
        with pytest.raises(RuntimeError, match='is used by transport'):
            loop.remove_writer(a.fileno())
        assert 'read=polling' in repr(writer.transport)
        writer.close()
        await writer.wait_closed()
    loop.run_until_complete(main())


def test_a_thousand_descriptors(loop):
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    pairs = [socket.socketpair() for _ in range(500)]
    seen = set()
    for number, (a, b) in enumerate(pairs):
        loop.add_reader(a, lambda number=number, a=a: (seen.add(number), a.recv(1)))
        b.send(b'x')
    while len(seen) < 500:
        one_turn(loop)
    for a, b in pairs:
        loop.remove_reader(a)
        a.close()
        b.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- Closed in the turn in which they are watched --------------------------------------------------
# Each in a process of its own: libev ends the process that watches a closed descriptor.

CLOSED_IN_THE_TURN = """
import os, socket, sys
loop = make_loop()
a, b = socket.socketpair()
a.setblocking(False)
seen = []

def turns(count=3):
    for _ in range(count):
        loop.call_soon(loop.stop)
        loop.run_forever()

async def started(awaitable):
    task = asyncio.ensure_future(awaitable)
    await asyncio.sleep(0)
    return task
"""


def check_survives(run_python, steps):
    result = run_python(CLOSED_IN_THE_TURN + steps + '\nprint("went on", seen)')
    assert (result.returncode, result.stdout) == (0, 'went on []\n'), result.stderr


@pytest.mark.parametrize('steps', [
    'loop.add_reader(a, seen.append, 1)',
    'loop.add_writer(a, seen.append, 1)',
    'loop.add_reader(a, seen.append, 1); turns(); loop.add_writer(a, seen.append, 2)',
    'loop.add_reader(a, seen.append, 1); loop.add_writer(a, seen.append, 2); loop.remove_writer(a)',
], ids=['reader', 'writer', 'writer_beside_reader', 'writer_removed'])
@pytest.mark.parametrize('close', ['a.close()', 'os.close(a.detach())', 'os.closerange(a.fileno(), a.detach() + 1)'],
                         ids=['close', 'os.close', 'closerange'])
def test_a_descriptor_closed_in_the_turn_that_watches_it_is_forgotten(run_python, steps, close):
    check_survives(run_python, f'{steps}\n{close}\nturns()')


@pytest.mark.parametrize('call', ['loop.sock_recv(a, 1)', 'loop.sock_recv_into(a, bytearray(1))', 'loop.sock_accept(accepting)',
                                  'loop.sock_connect(connecting, address)'])
def test_a_socket_closed_in_the_turn_that_waits_for_it(run_python, call):
    check_survives(run_python, f"""
listener = socket.create_server(('127.0.0.1', 0), backlog=0)
accepting = socket.create_server(('127.0.0.1', 0))
accepting.setblocking(False)
address = listener.getsockname()
filling = []
for _ in range(3):
    filling.append(socket.socket())
    filling[-1].setblocking(False)
    filling[-1].connect_ex(address)
connecting = socket.socket()
connecting.setblocking(False)

async def main():
    task = await started({call})
    assert not task.done()
    for each in (a, accepting, connecting):
        each.close()
    await asyncio.wait([task], timeout=0.05)
    task.cancel()
    await asyncio.wait([task])

loop.run_until_complete(main())
""")


@pytest.mark.parametrize('other', ['open(sys.executable, "rb")', 'os.fdopen(os.pipe()[0], "rb")', 'socket.create_server(("127.0.0.1", 0))'],
                         ids=['file', 'pipe', 'socket'])
def test_a_number_that_is_another_files_by_the_next_poll_is_not_watched_for_the_one_before(run_python, other):
    check_survives(run_python, f"""
number = a.fileno()
loop.add_reader(a, seen.append, 'reader')
loop.add_writer(a, seen.append, 'writer')
a.close()
other = {other}
assert other.fileno() == number
turns()
""")


def test_a_number_taken_again_is_watched_for_its_new_file_alone(run_python):
    check_survives(run_python, """
loop.add_reader(a, seen.append, 'stale')
number = a.fileno()
a.close()
c, d = socket.socketpair()
assert c.fileno() == number
loop.remove_reader(number)
heard = []
loop.add_writer(c, heard.append, 'writer')
d.send(b'x')
turns()
assert set(heard) == {'writer'}, heard
""")


def test_a_loop_that_watches_a_closed_descriptor_goes_on_after_a_fork(run_python):
    check_survives(run_python, """
loop.add_reader(a, seen.append, 1)
loop.add_reader(b, seen.append, 2)
turns()
a.detach()
os.closerange(b.fileno(), b.fileno() + 1)
child = os.fork()
if child == 0:
    loop.remove_reader(b.fileno())
    turns()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
""")
