"""Libraries with C, C++, Rust and Fortran inside, asked by many requests at once: /NAME/HOW?N answers what N has to do with it.

HOW is what a callback into Python does in the middle: it waits, it computes for longer than the quantum, or nothing.
"""
import ctypes
import functools
import io
import os
import queue
import threading
import time

QUANTUM_S = float(os.environ.get('QUANTUM_MS', 10)) / 1000


def compute():
    end = time.monotonic() + 1.2 * QUANTUM_S
    while time.monotonic() < end:
        pass


HOW = {'waits': lambda: time.sleep(0.002), 'computes': compute, 'plain': lambda: None}
views = {}


def view(function):
    views[function.__name__] = function
    return function


def made_once(make):
    """What all requests share, made by the first that asks."""
    lock, made = threading.Lock(), []

    @functools.wraps(make)
    def get():
        with lock:
            if not made:
                made.append(make())
        return made[0]
    return get


# --- pybind11 -----------------------------------------------------------------------------------

@view
def pybind11_function(n, wait):
    import bound
    return bound.call(lambda number: (wait(), number + 1)[1], n)


@view
def pybind11_release(n, wait):
    import bound
    return bound.call_in_release(lambda depth: (wait(), n)[1], 2) + (bound.burn(2) > 0)


@view
def pybind11_arguments(n, wait):
    import bound
    return bound.call_with_number(n, wait, ['one', 'two'])


@view
def pybind11_errors(n, wait):
    import bound

    def fails(number):
        wait()
        raise ValueError(number)

    seen = []
    for call in (lambda: bound.call(fails, n), lambda: bound.fails(wait, n)):
        try:
            call()
        except Exception as error:
            seen.append(repr(error))
    return seen


@view
def pybind11_override(n, wait):
    import bound

    class Shape(bound.Shape):
        def sides(self):
            wait()
            return n

    return bound.sides_of(Shape())


# --- Computing ----------------------------------------------------------------------------------

@view
def scipy_quad(n, wait):
    from scipy.integrate import quad
    return round(quad(lambda x: (wait(), n)[1], 0, 1)[0], 6)


@view
def scipy_fsolve(n, wait):
    from scipy.optimize import fsolve
    return round(fsolve(lambda x: (wait(), x[0] - n)[1:], [0.])[0], 6)


@view
def scipy_leastsq(n, wait):
    from scipy.optimize import leastsq
    return round(leastsq(lambda x: (wait(), [x[0] - n])[1], [0.])[0][0], 6)


@view
def scipy_fft(n, wait):
    import numpy
    from scipy import fft
    wave = numpy.sin(numpy.arange(4096) * (n + 1) * 2 * numpy.pi / 4096)
    wait()
    return int(numpy.argmax(abs(fft.rfft(wave, workers=2))))


@view
def numpy_errors(n, wait):
    import numpy
    seen = []
    with numpy.errstate(call=lambda *what: (wait(), seen.append(n)), divide='call', over='ignore'):
        for _ in range(3):
            numpy.array([1.0]) / 0
            wait()
    return seen, numpy.geterr()['divide']


@view
def numpy_function(n, wait):
    import numpy
    doubled = numpy.frompyfunc(lambda number: (wait(), number * 2)[1], 1, 1)(numpy.arange(n, n + 4))
    return list(doubled), round(float(numpy.linalg.solve(numpy.eye(20) * (n + 1), numpy.ones(20))[0]), 6)


@view
def pandas_groups(n, wait):
    import pandas
    table = pandas.read_csv(io.StringIO('key,value\n' + '\n'.join(f'{row % 3},{row * n}' for row in range(30))))
    return list(table.groupby('key')['value'].apply(lambda group: (wait(), int(group.sum()))[1]))


# --- Documents ----------------------------------------------------------------------------------

class SlowFile(io.BytesIO):
    def __init__(self, data, wait):
        super().__init__(data)
        self.wait = wait

    def read(self, *arguments):
        self.wait()
        return super().read(*arguments)


@view
def lxml_transform(n, wait):
    from lxml import etree

    class Extension:
        def own(self, context, number):
            wait()
            return number + n

    style = etree.XML('<x:stylesheet xmlns:x="http://www.w3.org/1999/XSL/Transform" xmlns:e="urn:e" version="1.0">'
                      '<x:output method="text"/>'
                      '<x:template match="/"><x:value-of select="e:own(number(/b))"/></x:template></x:stylesheet>')
    transform = etree.XSLT(style, extensions=etree.Extension(Extension(), ('own',), ns='urn:e'))
    return str(transform(etree.parse(SlowFile(b'<b>1000</b>', wait))))


@view
def lxml_errors(n, wait):
    from lxml import etree
    try:
        etree.parse(SlowFile(f'<a><b{n}></c{n}></a>'.encode(), wait))
    except etree.XMLSyntaxError as error:
        wait()
        return str(error)


@view
def pikepdf_document(n, wait):
    import pikepdf
    made = io.BytesIO()
    with pikepdf.new() as document:
        document.docinfo['/Title'] = f'number {n}'
        for _ in range(3):
            document.add_blank_page()
        document.save(made, progress=lambda percent: wait())
    with pikepdf.open(SlowFile(made.getvalue(), wait)) as document:
        return len(document.pages), str(document.docinfo['/Title'])


# --- Cryptography, OpenSSL, Rust ----------------------------------------------------------------

@view
def cryptography_certificate(n, wait):
    """pyo3 asks the extension for `ca`, which waits."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    class Slow(x509.BasicConstraints):
        @property
        def ca(self):
            wait()
            return True

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f'number {n}')])
    day = datetime.datetime(2026, 1, 1)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(n + 1)
            .not_valid_before(day).not_valid_after(day).add_extension(Slow(True, None), critical=True).sign(key, hashes.SHA256()))
    wait()
    return made.serial_number, made.subject.rfc4514_string(), made.extensions[0].value.ca


@view
def cryptography_errors(n, wait):
    from cryptography.hazmat.primitives import serialization
    seen = []
    for _ in range(3):
        try:
            serialization.load_pem_private_key(b'-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n', None)
        except ValueError as error:
            seen.append(type(error).__name__)
        wait()
    from cryptography.hazmat.primitives.asymmetric import ed25519
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)
    return seen, key.sign(b'%d' % n).hex()


# --- Foreign functions --------------------------------------------------------------------------

@made_once
def foreign():
    from cffi import FFI
    ffi = FFI()
    ffi.cdef('int close(int); int chdir(const char *); void qsort(void *, size_t, size_t, int (*)(const void *, const void *));')
    return ffi, ffi.dlopen(None)


@view
def cffi_errno(n, wait):
    import errno
    ffi, libc = foreign()
    wrong = 0
    for number in range(2000):
        if n % 2:
            libc.close(-1)
            wrong += ffi.errno != errno.EBADF
        else:
            libc.chdir(b'/no/such/place')
            wrong += ffi.errno != errno.ENOENT
        if number % 500 == 0:
            wait()
    return n, wrong


@view
def cffi_callback(n, wait):
    ffi, libc = foreign()
    numbers = ffi.new('int[]', [n, 5, 3, 1])

    @ffi.callback('int(const void *, const void *)')
    def compare(one, other):
        wait()
        return ffi.cast('int *', one)[0] - ffi.cast('int *', other)[0]

    libc.qsort(numbers, 4, 4, compare)
    return list(numbers)


@view
def ctypes_errno(n, wait):
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(n + 1)
    wait()
    before = ctypes.get_errno()
    libc.close(-1)
    return before, ctypes.get_errno()


@made_once
def glib():
    from gi.repository import GLib
    GLib.MainContext, GLib.MainLoop, GLib.timeout_source_new  # Found at the first use, which two at once do not stand.
    return GLib


@view
def gi_main_loop(n, wait):
    GLib = glib()
    context = GLib.MainContext.new()
    context.push_thread_default()
    try:
        loop, seen = GLib.MainLoop.new(context, False), []
        source = GLib.timeout_source_new(20)
        source.set_callback(lambda _: (wait(), seen.append(n), loop.quit(), False)[-1], None)
        source.attach(context)
        loop.run()
        return seen, GLib.MainContext.get_thread_default() == context
    finally:
        context.pop_thread_default()


# --- Stores -------------------------------------------------------------------------------------

@made_once
def leveldb():
    import plyvel
    return plyvel.DB(f'{os.environ["FOLDER"]}/leveldb-{os.getpid()}', create_if_missing=True)


@view
def plyvel_put(n, wait):
    key = b'%d' % n
    leveldb().put(key, key * 100, sync=True)
    wait()
    with leveldb().iterator(prefix=key) as found:
        return n, (key, key * 100) in found


@made_once
def lmdb_environment():
    import lmdb
    return lmdb.open(f'{os.environ["FOLDER"]}/lmdb-{os.getpid()}', map_size=1 << 24)


@view
def lmdb_write(n, wait):
    """One writer at a time; none loses what another has counted."""
    key = b'%d' % n
    with lmdb_environment().begin(write=True) as transaction:
        count, own = (int(transaction.get(name, b'0')) for name in (b'count', key))
        wait()
        transaction.put(b'count', b'%d' % (count + 1))
        transaction.put(key, b'%d' % (own + 1))
    with lmdb_environment().begin() as transaction:
        return n, int(transaction.get(b'count')) > count, int(transaction.get(key)) == own + 1


@view
def xapian_write(n, wait):
    """One writer at a time: each waits in C until the file's lock is free, and adds to what the others have written."""
    import xapian
    database = xapian.WritableDatabase(f'{os.environ["FOLDER"]}/xapian-{os.getpid()}', xapian.DB_CREATE_OR_OPEN | xapian.DB_RETRY_LOCK)
    try:
        count = database.get_doccount()
        wait()
        document = xapian.Document()
        document.add_term(f'n{n}')
        database.add_document(document)
        database.commit()
        return n, database.get_doccount() == count + 1, database.term_exists(f'n{n}')
    finally:
        database.close()


gpg_writers = queue.Queue()


@view
def gpg_encrypt(n, wait):
    """Of two requests, one waits in C, in libgpgme, for what the other writes."""
    if n % 2 == 1:
        writer = gpg_writers.get()
        wait()
        with os.fdopen(writer, 'wb') as pipe:
            return n, pipe.write(b'text')
    import gpg
    reader, writer = os.pipe()
    with os.fdopen(reader, 'rb') as pipe, \
            gpg.Context(home_dir=os.environ['GPG_HOME'], pinentry_mode=gpg.constants.PINENTRY_MODE_LOOPBACK) as context:
        gpg_writers.put(writer)
        encrypted, _, _ = context.encrypt(pipe, passphrase='passphrase', sign=False)
        return n, context.decrypt(encrypted, passphrase='passphrase')[0]


@made_once
def sysv_semaphore():
    import sysv_ipc
    semaphore = sysv_ipc.Semaphore(None, sysv_ipc.IPC_CREX, initial_value=1)
    semaphore_holders.clear()
    return semaphore


semaphore_holders = []


@view
def sysv_semaphore_held(n, wait):
    with sysv_semaphore():
        semaphore_holders.append(n)
        wait()
        alone = semaphore_holders == [n]
        semaphore_holders.remove(n)
    return n, alone


# --- Over the network ---------------------------------------------------------------------------

@made_once
def grpc_channel():
    import grpc
    return grpc.insecure_channel(f'127.0.0.1:{os.environ["GRPC_PORT"]}')


@view
def grpc_call(n, wait):
    wait()
    return grpc_channel().unary_unary('/test/Say')(b'%d' % n, timeout=60).decode()


@view
def grpc_stream(n, wait):
    return [(wait(), said.decode())[1] for said in grpc_channel().unary_stream('/test/SayThrice')(b'%d' % n, timeout=60)]


@made_once
def zmq_context():
    import zmq
    return zmq.Context()


@view
def zmq_request(n, wait):
    import zmq
    with zmq_context().socket(zmq.REQ) as line:
        line.connect(f'tcp://127.0.0.1:{os.environ["ZMQ_PORT"]}')
        line.send(b'%d' % n)
        wait()
        return line.recv().decode()


@view
def zmq_thread(n, wait):
    """A pair of sockets inside the process, one of them a real thread's."""
    import zmq
    with zmq_context().socket(zmq.PAIR) as line:
        address = f'inproc://{n}-{os.urandom(4).hex()}'
        line.bind(address)

        def other():
            with zmq_context().socket(zmq.PAIR) as theirs:
                theirs.connect(address)
                theirs.send(theirs.recv() * 2)

        thread = threading.Thread(target=other)
        thread.start()
        line.send(b'%d ' % n)
        wait()
        said = line.recv().decode()
        thread.join()
        return said


@view
def uvloop_in_request(n, wait):
    import asyncio

    import uvloop

    async def work():
        loop = asyncio.get_running_loop()
        slept = await asyncio.gather(*(asyncio.sleep(0.05, n) for _ in range(3)))
        wait()
        in_thread = await loop.run_in_executor(None, lambda: (time.sleep(0.01), n)[1])
        await loop.getaddrinfo('127.0.0.1', 80)
        return slept, in_thread

    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(work())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@view
def ldap_search(n, wait):
    import ldap
    line = ldap.initialize(f'ldap://127.0.0.1:{os.environ["LDAP_PORT"]}')
    line.simple_bind_s()
    wait()
    try:
        line.search_s('cn=slow,o=here', ldap.SCOPE_BASE)  # For a second.
    except ldap.NO_SUCH_OBJECT:
        (name, _), = line.search_s(f'cn={n},o=there', ldap.SCOPE_BASE)
        return n, name
    finally:
        line.unbind_s()


@view
def pyodbc_query(n, wait):
    import pyodbc
    line = pyodbc.connect(os.environ['ODBC'], autocommit=True)
    try:
        wait()
        return list(line.execute('select ?, cast(pg_sleep(0.2) as text)', n).fetchone())
    finally:
        line.close()


@made_once
def kafka_producer():
    import confluent_kafka
    return confluent_kafka.Producer({'test.mock.num.brokers': 1, 'linger.ms': 50})  # A broker inside librdkafka.


@view
def kafka_produce(n, wait):
    told = []
    kafka_producer().produce('words', b'%d' % n, on_delivery=lambda error, message: told.append((str(error), message.value().decode())))
    deadline = time.monotonic() + 60
    while not told and time.monotonic() < deadline:
        kafka_producer().flush(0.2)
        wait()
    return told


@view
def kafka_poll(n, wait):
    """Nobody is there: the consumer waits for as long as it was told to."""
    import confluent_kafka
    consumer = confluent_kafka.Consumer({'bootstrap.servers': '127.0.0.1:1', 'group.id': 'here', 'log_level': 0})
    consumer.subscribe(['words'])
    try:
        wait()
        return n, consumer.poll(0.2)
    finally:
        consumer.close()


def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/':
        body = b'here'
    else:
        _, name, how = path.split('/')
        body = str(views[name](int(environ['QUERY_STRING']), HOW[how])).encode()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
