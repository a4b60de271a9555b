"""The environ is what this request has sent, whatever the requests before have left (repeated_strings.h)."""
import json
import random
import socket

import clients


def sent(headers, address=('127.0.0.1', 0), to='127.0.0.1'):
    """(a function of the port that asks with these headers) -> the environ's strings."""
    lines = ''.join(f'{name}: {value}\r\n' for name, value in headers.items())

    def ask(port):
        with socket.create_connection((to, port), source_address=address, timeout=30) as connection:
            connection.sendall(f'GET /vars HTTP/1.0\r\n{lines}\r\n'.encode('latin-1'))
            response = b''.join(iter(lambda: connection.recv(65536), b''))
        return json.loads(clients.body_of(response))
    return ask


def variables(environ):
    return {name: value for name, value in environ.items() if name.startswith('HTTP_X')}


def random_headers(draw):
    """Names and values of every length round the longest that is kept, some of them tokens, some not."""
    headers = {}
    for _ in range(draw.randint(1, 40)):
        size = draw.choice([1, 2, 3, 7, 8, 9, 15, 33, 34, 35, 36, 60])
        name = 'X' + ''.join(draw.choices('ABCDEFG-', k=size))
        alphabet = draw.choice(['AB', 'AB01_/.-', 'ab=', 'A\xe9\xff', 'A;"'])
        headers[name] = ''.join(draw.choices(alphabet, k=draw.choice([1, 2, 7, 8, 9, 39, 40, 41, 200])))
    return headers


def test_names_and_values_are_those_of_the_request(server):
    running = server('environ.py')
    draw = random.Random(1)
    seen = [random_headers(draw) for _ in range(20)]
    for number in range(400):
        headers = draw.choice(seen) if number % 3 else random_headers(draw)
        found = variables(sent(headers)(running.port))
        assert found == {'HTTP_' + name.replace('-', '_'): value for name, value in last_of_each(headers).items()}


def last_of_each(headers):
    """uWSGI joins headers that have one name as variables."""
    joined = {}
    for name, value in headers.items():
        same = next((other for other in joined if other.replace('-', '_') == name.replace('-', '_')), None)
        if same is None:
            joined[name] = value
        else:
            joined[same] += ', ' + value
    return joined


def test_more_names_than_are_kept_come_again(server):
    running = server('environ.py', '--buffer-size', '65535')
    many = {f'X-{number:04}-{"A" * (number % 30)}': f'VALUE-{number}' for number in range(1500)}
    for _ in range(3):
        for first in range(0, 1500, 25):
            some = dict([*many.items()][first:first + 25])
            found = variables(sent(some)(running.port))
            assert found == {'HTTP_' + name.replace('-', '_'): value for name, value in some.items()}


def test_remote_addr_is_that_of_this_client(server):
    running = server('environ.py')
    for last in (1, 2, 2, 1, 3, 1, 1, 255 - 1):
        assert sent({}, (f'127.0.0.{last}', 0))(running.port)['REMOTE_ADDR'] == f'127.0.0.{last}'


def test_environs_do_not_pile_up(server):
    running = server('environ.py', cores=2)

    def blocks():
        for _ in range(20):
            running.get('/vars')
        return int(running.get('/blocks')[2])
    before = blocks()
    for _ in range(600):
        running.get('/vars')
    assert blocks() < before + 300
