"""What a hostile client sends: requests of each protocol with something wrong in them. All of it comes from the
generator that is given, so that a seed says it again."""
import itertools
import re
import struct

from wire_requests import fastcgi_request, http_request, scgi_request, uwsgi_request

PATHS = ['/', '/echo', '/lines', '/stream', '/pid', '/nowhere']
NUMBERS = [b'-1', b'0', b'00', b'1', b'4294967296', b'9223372036854775808', b'99999999999999999999999', b'+5', b'0x10', b'1e3', b'', b' ']
LENGTHS = [b'\0\0', b'\xff\xff', b'\0\x01', b'\x01\0', b'\x7f\xff', b'\x80\0', b'\xff\xff\xff\xff', b'\0\0\0\0']
GARBAGE = [b'\0', b'\r\n', b'\n', b'\xff' * 9, b'\x16\x03\x01\x02\0', b'GET', b' ' * 70, b'%00%zz', b':', b'\0' * 300]
CHUNKED = [  # After the header: some are right.
    b'5\r\nhello\r\n0\r\n\r\n', b'5;x=y\r\nhello\r\n0\r\n\r\n', b'0\r\n\r\n', b'zz\r\nhello\r\n', b'-5\r\nhello\r\n0\r\n\r\n',
    b'ffffffffffffffff\r\nhello', b'7fffffff\r\nhello', b'5hello0', b'\r\n\r\n', b'5\r\nhel', b'5\r\nhelloXX0\r\n\r\n', b'0\r\nX: y\r\n\r\n',
    b'1\r\na\r\n' * 300 + b'0\r\n\r\n', b'0' * 5000 + b'\r\n\r\n', b'5\nhello\n0\n\n', b'1' * 9 + b'\r\n' + b'x' * 3000]
KEY = b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n'
UPGRADE = b'GET /websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' + KEY + b'\r\n'


def http_message(random):
    body = bytes(random.choices(range(256), k=random.choice([0, 1, 5, 100, 5000])))
    request = http_request(random.choice(PATHS), random.choice(['GET', 'POST', 'HEAD', 'PUT', '\xe9']), body, random.choice([b'1.0', b'1.1']))
    if random.random() < 0.3:
        head = b'POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
        request = head + random.choice(CHUNKED)
    more = random.choice([b'', b'Host: x\r\n', b'X: ' + b'y' * random.choice([10, 4000, 70000]) + b'\r\n', b'X: y\r\n' * 100,
                          b'Content-Length: 5\r\nContent-Length: 7\r\n', b'Expect: 100-continue\r\n', b'Connection: keep-alive\r\n'])
    return request.replace(b'\r\n', b'\r\n' + more, 1)


def frame(random):
    payload = bytes(random.choices(range(256), k=random.choice([0, 1, 2, 5, 125, 126, 2000])))
    size = len(payload)
    length = struct.pack('>B', 0x80 | size) if size < 126 else struct.pack('>BH', 0xfe, size)
    first = random.choice([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8a, 0x83, 0xc1, 0x09])
    mask = random.randbytes(4)
    return bytes([first]) + length + mask + bytes(b ^ m for b, m in zip(payload, itertools.cycle(mask)))


def websocket_message(random):
    return UPGRADE + b''.join(frame(random) for _ in range(random.randrange(6)))


def gateway_message(request):
    def message(random):
        body = bytes(random.choices(range(256), k=random.choice([0, 5, 70, 9000])))
        return request(random.choice(PATHS), random.choice(['GET', 'POST']), body)
    return message


MESSAGES = {
    'http-socket': http_message, 'http11-socket': http_message, 'websocket': websocket_message, 'uwsgi-socket': gateway_message(uwsgi_request),
    'fastcgi-socket': gateway_message(fastcgi_request), 'scgi-socket': gateway_message(scgi_request)}


# --- What may be wrong with it ------------------------------------------------------------------

def nothing(random, data):
    return data


def truncated(random, data):
    return data[:random.randrange(len(data) + 1)]


def flipped(random, data):
    changed = bytearray(data)
    for _ in range(random.choice([1, 2, 10])):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def put_in(random, data):
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(GARBAGE) + data[at:]


def left_out(random, data):
    at = random.randrange(len(data))
    return data[:at] + data[at + random.choice([1, 2, 8, 40]):]


def other_number(random, data):
    numbers = list(re.finditer(rb'\d+', data[:400]))
    if not numbers:
        return data
    number = random.choice(numbers)
    return data[:number.start()] + random.choice(NUMBERS) + data[number.end():]


def other_length(random, data):
    """Two or four bytes, which in these protocols are often a length."""
    at = random.randrange(min(len(data), 60))
    length = random.choice(LENGTHS)
    return data[:at] + length + data[at + len(length):]


def twice(random, data):
    return data + data


def then_garbage(random, data):
    return data + random.choice(GARBAGE) * random.choice([1, 50])


def oversize(random, data):
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice([b'A', b'\0', b'9', b'X: y\r\n']) * random.choice([5000, 70000]) + data[at:]


FAULTS = [nothing, truncated, flipped, put_in, left_out, other_number, other_length, twice, then_garbage, oversize]


def hostile_message(random, protocol):
    """(what is wrong with it, the bytes)."""
    data = MESSAGES[protocol](random)
    kinds = random.choices(FAULTS, k=random.choice([1, 1, 2, 3]))
    for kind in kinds:
        data = kind(random, data or b'\0')
    # An upgrade that fails is no websocket: most keep theirs.
    if protocol == 'websocket' and random.random() < 0.7 and not data.startswith(UPGRADE):
        data = UPGRADE + data[len(UPGRADE):]
    return '+'.join(kind.__name__ for kind in kinds), data
