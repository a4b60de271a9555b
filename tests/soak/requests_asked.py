"""What the soak's clients ask, how often, and what must be answered.

QUESTIONS: weight, name, path of request n, its answer as a regular expression of the whole body.
"""
import contextvars
import hashlib
import re
import typing

import programs

SIGKILL = 9
# In a context of its own, as each request has.
PROGRAMS = {seed: contextvars.Context().run(programs.run, seed, lambda: None) for seed in range(20)}


class Question(typing.NamedTuple):
    weight: int
    name: str
    path: typing.Callable[[int], str]
    answer: typing.Callable[[int], str]


def question(weight, path, answer, number=lambda n: n):
    """`path` without its query, which is the number of the request, in the range the app can take."""
    return Question(weight, path, lambda n: f'/{path}?{number(n)}', lambda n: answer(number(n)))


def same(n):
    return str(n)


def literally(answer):
    return lambda n: re.escape(answer(n))


def each(weight, names, path, answer, number=lambda n: n):
    return [question(weight, path.format(name), answer, number) for name in names]


def host(n):
    return 1 + n % 200


# Fewer and shorter values than memcached has room for.
def few_keys(n):
    return 100 + n % 100


POSTGRES = [
    *each(3, ['psycopg2', 'psycopg'], 'postgres/{}/on_kept', lambda n: rf'{n} \d+ \d+'),
    *each(2, ['psycopg2', 'psycopg'], 'postgres/{}/on_new', lambda n: rf'{n} \d+'),
    *each(1, ['psycopg2', 'psycopg'], 'postgres/{}/on_shared', same),
    *each(1, ['psycopg2', 'psycopg'], 'postgres/{}/cancelled', lambda n: f'{n} QueryCancell?ed'),
    *each(1, ['psycopg2', 'psycopg'], 'postgres/{}/add_one', same),
    question(1, 'large_from_postgres', lambda n: rf"{n} 1000000 \{{'{n % 10}'\}}"),
    question(2, 'sqlalchemy/pooled', lambda n: rf'{n} \d+'),
    question(2, 'sqlalchemy/write', lambda n: f'{n} 2'),
]
MARIADB = [
    *each(3, ['mysqlclient', 'pymysql'], 'mysql/{}/on_kept', lambda n: rf'{n} \d+ \d+'),
    *each(2, ['mysqlclient', 'pymysql'], 'mysql/{}/on_new', lambda n: rf'{n} \d+'),
    *each(1, ['mysqlclient', 'pymysql'], 'mysql/{}/large', lambda n: rf"{n} 1000000 \{{'{n % 10}'\}}"),
    *each(1, ['mysqlclient', 'pymysql'], 'mysql/{}/refused', lambda n: f'{n} (1049|1146)'),
    *each(1, ['mysqlclient', 'pymysql'], 'mysql/{}/add_one', same),
]
CACHES = [
    *each(3, ['hiredis', 'python'], 'redis/{}/blpop', literally(lambda n: f"None ('some:{n}', '{n}')")),
    *each(2, ['hiredis', 'python'], 'redis/{}/with_few', lambda n: 'None'),
    *each(1, ['hiredis', 'python'], 'redis/{}/pipeline', lambda n: f'{n} True 200000 1'),
    *each(1, ['hiredis', 'python'], 'redis/{}/subscribe', lambda n: f'hello {n}'),
    *each(1, ['hiredis', 'python'], 'redis/{}/lock', same),
    *each(2, ['pylibmc', 'pymemcache', 'memcache'], 'memcached/{}', lambda n: f'{n} True', few_keys),
]
HTTP = [
    *each(2, [f'{scheme}/{client}' for scheme in ('http', 'https') for client in (
        'requests', 'session', 'urllib3', 'httpx', 'urllib', 'pycurl', 'small_pool')], '{}', lambda n: f'/{n}'),
    *each(1, ['http', 'https'], '{}/upload', lambda n: '1000000'),
    *each(1, ['http', 'https'], '{}/timeout', lambda n: f'{n} (Read|Connect)Timeout'),
    *each(1, ['http', 'https'], '{}/refused', lambda n: f'{n} ConnectionRefusedError'),
    question(2, 'smtp/send', same),
]
# Not os.fork(): in the child CPython drops what threading.local keeps for the other threads, and a
# kept connection whose driver minds no fork (mysqlclient, pylibmc) says goodbye for its parent.
PROCESSES = [
    question(1, 'processes/run', lambda n: rf'{n} {n % 5} out {n} err {n}'),
    question(1, 'processes/communicate', lambda n: f'{n} 0 True'),
    question(1, 'processes/timeout', lambda n: f'{n} {-SIGKILL}'),
    question(1, 'spawn', lambda n: f'{n} {n}', host),
    question(1, 'processes/pipe', same),
    question(1, 'processes/add_one', same),
    question(2, 'sqlite/add_one', same),
    question(2, 'sqlite/add_one_on_shared', same),
]
NAMES = [
    question(2, 'processes/getaddrinfo', lambda n: rf'127\.0\.0\.{n}', host),
    question(1, 'processes/gethostbyname', lambda n: rf'127\.0\.0\.{n}', host),
    question(1, 'processes/create_connection', lambda n: f'{n} ConnectionRefusedError', host),
]
PYTHON = [
    question(3, 'locks/submit', lambda n: str(2 * n)),
    question(2, 'locks/as_completed', lambda n: str(6 * n + 6)),
    question(2, 'locks/wait_for_futures', lambda n: str(6 * n + 6)),
    question(1, 'locks/executor_of_its_own', lambda n: str(6 * n)),
    question(3, 'locks/stress', lambda n: 'done'),
    question(2, 'locks/hold_lock', lambda n: r'\d'),
    question(2, 'locks/hold_rlock', lambda n: r'\d'),
    question(1, 'locks/time_out', lambda n: 'timed out', lambda n: '0.02'),
    question(1, 'locks/lru_cache', lambda n: str((n % 4) ** 2)),
    question(2, 'rule/asyncio_run', same),
    question(1, 'rule/in_thread', lambda n: 'all right'),
    question(2, 'programs/', literally(PROGRAMS.get), lambda n: n % len(PROGRAMS)),
    question(4, 'basic/sleep', lambda n: 'hello', lambda n: n % 50 / 100),
    question(4, 'basic/', lambda n: 'hello'),
    question(2, 'flask/fetch', lambda n: f'{n} {n} {n} /{n} True'),
    question(2, 'flask/async', lambda n: f'{n} {n}'),
    question(2, 'flask/stream', lambda n: ''.join(f'{n}.{part} ' for part in range(4))),
    question(1, 'flask/error', lambda n: f'{n} {n}'),
    question(1, 'flask/run', lambda n: f'{n} {n}'),
]

# Those that add one to a counter which is read at the end.
COUNTERS = {
    'postgres': ['postgres/psycopg2/add_one', 'postgres/psycopg/add_one'],
    'mariadb': ['mysql/mysqlclient/add_one', 'mysql/pymysql/add_one'],
    'redis': ['redis/hiredis/lock', 'redis/python/lock'],
    'flock': ['processes/add_one'],
    'sqlite': ['sqlite/add_one', 'sqlite/add_one_on_shared'],
}

WEIGHT_OF_TRANSFERS = 5  # Of each of the three.


def upload(session, n):
    """A body that comes in pieces, with pauses."""
    body = session.random.randbytes(session.random.randint(1, 300_000))

    def pieces():
        for start in range(0, len(body), 100_000):
            yield body[start:start + 100_000]
            session.pause(0.02)

    got = session.ask('POST', '/upload', pieces(), {'Content-Length': str(len(body))})
    expect(got.read(), f'{len(body)} {hashlib.sha1(body).hexdigest()}'.encode())


def download(session, n):
    """A reader slower than the app."""
    size = session.random.randint(1, 80_000) * 32
    response = session.ask('GET', f'/download?{size}')
    got = b''
    while piece := response.read(max(size // 8, 1)):
        got += piece
        session.pause(0.02)
    expect(got, got[:32] * (size // 32))
    expect(len(got), size)


def stream(session, n):
    response = session.ask('GET', f'/stream?{n}.10')
    got = response.read()
    expect(got, b''.join(f'{n}.{part} '.encode() * 500 for part in range(10)))


class Wrong(Exception):
    """An answer that is not the one expected."""


def expect(got, wanted):
    if got != wanted:
        raise Wrong(f'{got[:300] if isinstance(got, bytes) else got!r} instead of '
                    f'{wanted[:300] if isinstance(wanted, bytes) else wanted!r}')


def plain(asked):
    def ask(session, n):
        response = session.ask('GET', asked.path(n))
        body = response.read().decode('latin-1')
        if response.status != 200 or not re.fullmatch(asked.answer(n), body):
            raise Wrong(f'{response.status} {body[:300]!r}')
    return ask
