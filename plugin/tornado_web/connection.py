"""A uWSGI request behind Tornado's interface tornado.httputil.HTTPConnection."""
import asyncio
import collections.abc

from tornado import http1connection, httpserver, httputil, iostream
from tornado.log import app_log, gen_log
from tornado.web import RequestHandler

PIECE = 65536  # The most bytes of a body that are read at once, as in Tornado's own connection.
BODY_MAX = 104857600  # Tornado's default.


def parse_length(text):
    """Accepts what Tornado accepts since 6.4. int() alone accepts '+10', '1_0' and others, which clients read differently."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError('not an integer: %r' % text)
    return int(text)


class Context:
    """The client, from which Tornado takes request.remote_ip and request.protocol. Also stands for the server's connection."""

    __slots__ = 'remote_ip', 'protocol'

    def __init__(self, remote_ip, protocol):
        self.remote_ip = remote_ip or '0.0.0.0'  # For a Unix socket, as in Tornado.
        self.protocol = protocol

    def __str__(self):
        return self.remote_ip


class Unconnected:
    """The part of a stream that Tornado's context of a connection uses."""

    socket = None


def context_of_server(server, remote_ip, scheme):
    """The context for an HTTPServer, which changes it if it has xheaders=True."""
    context = httpserver._HTTPRequestContext(Unconnected, None, server.protocol or scheme, server.trusted_downstream)
    context.remote_ip = context._orig_remote_ip = remote_ip or '0.0.0.0'
    server._connections.add(context)  # Until on_close().
    return context


class Steps(collections.abc.Coroutine):
    """A coroutine whose steps count as its request's, for uWSGI's functions, for measurements and for warnings."""

    __slots__ = 'exchange', 'coroutine', '__weakref__'

    def __init__(self, exchange, coroutine):
        self.exchange = exchange
        self.coroutine = coroutine

    def send(self, value):
        self.exchange.step(True)
        try:
            return self.coroutine.send(value)
        finally:
            self.exchange.step(False)

    def throw(self, *error):
        self.exchange.step(True)
        try:
            return self.coroutine.throw(*error)
        finally:
            self.exchange.step(False)

    def close(self):
        self.coroutine.close()

    def __await__(self):
        return self.coroutine.__await__()

    def __getattr__(self, name):  # asyncio and debuggers ask for frames and names.
        return getattr(self.coroutine, name)


class Connection(httputil.HTTPConnection):
    """One request and its response. Runs on the loop's own stack, like all callbacks of Tornado."""

    piece_size = PIECE
    max_body_size = BODY_MAX
    body_timeout = None
    decompress = False

    def __init__(self, application, exchange, environ):
        self.application = application
        self.exchange = exchange
        self.environ = environ
        method, target, version, mount, remote_ip, scheme = exchange.start_line()
        if mount and target.startswith(mount):  # --manage-script-name.
            target = target[len(mount):]
            target = target if target.startswith('/') else '/' + target
        self.start_line = httputil.RequestStartLine(method, target, version)
        if isinstance(application, httpserver.HTTPServer):
            self.context = context_of_server(application, remote_ip, scheme)
            self.use_options(application.conn_params)
        else:
            self.context = Context(remote_ip, scheme)
        self.loop = asyncio.get_event_loop()
        self.delegate = None
        self.close_callback = None
        self.handler = None
        self.task = self.coroutine = None  # The handler's.
        self.begun = False  # True if that task is the one scheduled last.
        self.detached = None  # The stream, once the connection is detached.
        self.piece = None  # A future, while the handler waits for a piece of the body.
        self.waiting = []  # Futures of data that is not sent yet.
        self.started = self.finished = self.received = self.gone = self.interrupted = False
        self.chunks = self.upgrades = False
        self.left = None  # Bytes still to send of those that Content-Length promises.
        self.error = None  # The exception that the delegate raised.

    def use_options(self, params):
        self.piece_size = params.chunk_size
        self.body_timeout = params.body_timeout
        self.decompress = params.decompress
        if params.max_body_size is not None:
            self.max_body_size = params.max_body_size

    # --- The request

    def begin(self):
        if self.gone:
            return
        self.headers = headers = httputil.HTTPHeaders()
        for name, value in self.exchange.headers():
            headers.add(name, value)
        try:
            self.delegate = self.application.start_request(self.context, self)
            if self.decompress:
                self.delegate = http1connection._GzipMessageDelegate(self.delegate, self.piece_size)
            waits_for = self.delegate.headers_received(self.start_line, headers)
            if waits_for is None and not self.exchange.chunked and not self.exchange.body_size:
                self.received_all()
                self.begun = self.task is not None
                return
        except Exception as error:
            self.failed(error)
            return
        self.loop.create_task(Steps(self.exchange, self.receive_body(waits_for)))

    async def receive_body(self, waits_for):
        try:
            if waits_for is not None:
                await waits_for
            if self.gone or self.detached is not None:
                return
            self.check_body()
            if self.headers.get('Expect') == '100-continue' and not self.finished:
                self.exchange.send_continue(b'HTTP/1.1 100 (Continue)\r\n\r\n')
            pieces = self.receive_pieces()
            await (pieces if self.body_timeout is None else asyncio.wait_for(pieces, self.body_timeout))
            if not self.gone:
                self.received_all()
        except asyncio.TimeoutError:
            gen_log.info('Timeout reading body from %s', self.context)
            self.exchange.abort()
            self.on_gone()
        except Exception as error:
            self.failed(error)

    def check_body(self):
        if self.exchange.chunked:
            return
        if 'Transfer-Encoding' in self.headers and 'Content-Length' in self.headers and self.exchange.speaks_http:
            raise httputil.HTTPInputError('Message with both Transfer-Encoding and Content-Length')
        if self.exchange.body_size > self.max_body_size:
            raise httputil.HTTPInputError('Content-Length too long')

    async def receive_pieces(self):
        size = 0
        while self.exchange.chunked or size < self.exchange.body_size:
            self.piece = self.loop.create_future()
            self.exchange.receive(self.piece_size)
            piece = await self.piece
            size += len(piece)
            if not piece or self.gone:
                return
            if size > self.max_body_size:
                raise httputil.HTTPInputError('chunked body too large')
            if not self.finished:
                waits_for = self.delegate.data_received(piece)
                if waits_for is not None:
                    await waits_for

    def received_all(self):
        self.received = True
        if not self.finished:
            self.delegate.finish()

    def failed(self, error):
        """The delegate raised, or the request is malformed. The client gets an error unless the response has begun."""
        if self.gone:
            return
        if isinstance(error, httputil.HTTPInputError):
            gen_log.info('Malformed HTTP message from %s: %s', self.context, error)
            if not self.started:
                self.exchange.start('400 Bad Request', [])
                self.exchange.end()
                self.on_gone()
                return
        elif not self.started:
            self.error = error
        else:
            app_log.error('Uncaught exception', exc_info=error)
        self.exchange.abort()
        self.on_gone()

    # --- What the exchange says

    def on_received(self, piece):
        future, self.piece = self.piece, None
        if future is not None and not future.done():
            future.set_result(piece)

    def on_malformed(self):
        future, self.piece = self.piece, None
        if future is not None and not future.done():
            future.set_exception(httputil.HTTPInputError('chunked body is malformed'))

    def on_sent(self):
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def on_gone(self):
        """The client has disconnected, or nothing more is read from it. Ends all waits for it."""
        if self.gone:
            return
        self.gone = True
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_exception(iostream.StreamClosedError())
                future.exception()
        self.on_received(b'')
        if self.detached is not None:
            self.detached.close()
        elif not self.finished:
            self.tell_delegate()
        if not self.interrupted or self.task is None:
            self.exchange.end()

    def tell_delegate(self):
        callback, self.close_callback = self.close_callback, None
        try:
            if not self.received and self.delegate is not None:
                self.delegate.on_connection_close()
            elif callback is not None:
                callback()
        except Exception:
            app_log.error('Uncaught exception', exc_info=True)

    def interrupt(self, client_left):
        """The deadline has passed, or the worker ends: cancels the handler. Data that it still sends is sent."""
        self.interrupted = True
        if client_left:
            self.on_gone()
        if self.task is not None and not self.task.done():
            self.task.add_done_callback(lambda task: self.exchange.end())
            self.task.cancel()
            return
        self.on_gone()
        self.exchange.end()

    def going_away(self):
        """The worker ends. A request is waited for; a websocket is not."""
        if self.detached is None:
            return
        try:
            self.handler.close(1001, 'the server is being restarted')
        except Exception:  # Not a WebSocketHandler.
            self.detached.close()

    def close(self):
        """Called when the request has ended."""
        if self.detached is not None:
            self.detached.close()
        if not self.gone and not self.exchange.lost:
            self.on_sent()
        self.finished = True  # on_gone() must not tell the delegate.
        self.on_gone()
        self.application.on_close(self.context)
        self.delegate = self.handler = self.close_callback = self.coroutine = None

    # --- What Tornado calls

    def set_close_callback(self, callback):
        self.close_callback = callback
        handler = getattr(callback, '__self__', None)
        if self.handler is None and isinstance(handler, RequestHandler):
            self.handler = handler
            self.run = handler._execute
            handler._execute = self.execute

    def execute(self, *args, **kwargs):
        """RequestHandler._execute(), as a task that a deadline can cancel."""
        self.coroutine = self.run(*args, **kwargs)
        self.task = self.loop.create_task(Steps(self.exchange, self.run_handler(self.coroutine)))
        return self.task

    async def run_handler(self, coroutine):
        try:
            await coroutine
        except asyncio.CancelledError:
            if not self.interrupted:
                raise

    def set_body_timeout(self, timeout):
        self.body_timeout = timeout

    def set_max_body_size(self, max_body_size):
        self.max_body_size = max_body_size

    def write_headers(self, start_line, headers, chunk=None):
        code = start_line.code
        head = self.start_line.method == 'HEAD'
        self.upgrades = code == 101
        if self.exchange.speaks_http:
            self.chunks = (
                self.start_line.version == 'HTTP/1.1' and not head and code >= 200 and code not in (204, 304)
                and 'Content-Length' not in headers and 'Transfer-Encoding' not in headers)
            if self.chunks:
                headers['Transfer-Encoding'] = 'chunked'
            if self.start_line.version == 'HTTP/1.1' and code != 101 and not self.exchange.keeps_connection:
                headers['Connection'] = 'close'
        if head or code == 304:
            self.left = 0
        elif 'Content-Length' in headers:
            self.left = parse_length(headers['Content-Length'])
        if self.gone:
            return self.closed()
        self.exchange.start('%d %s' % (code, start_line.reason), list(headers.get_all()))
        self.started = True
        if chunk:
            return self.write(chunk)
        return self.sent(False)

    def write(self, chunk):
        if self.gone:
            return self.closed()
        if not self.started:
            raise RuntimeError('write() before write_headers(): on uWSGI\'s sockets only write_headers() sends headers')
        if self.left is not None:
            self.left -= len(chunk)
            if self.left < 0:
                self.exchange.abort()
                self.on_gone()
                raise httputil.HTTPOutputError('Tried to write more data than Content-Length')
        if self.chunks and chunk:
            chunk = b'%x\r\n%b\r\n' % (len(chunk), chunk)
        return self.sent(self.exchange.send(chunk))

    def sent(self, all_of_it):
        if self.exchange.gone:  # on_gone() runs in a later turn, and a handler that only writes never lets one begin.
            return self.closed()
        future = self.loop.create_future()
        if all_of_it:
            future.set_result(None)
        else:
            self.waiting.append(future)
        return future

    def closed(self):
        future = self.loop.create_future()
        future.set_exception(iostream.StreamClosedError())
        future.exception()
        return future

    def finish(self):
        if self.left and not self.gone:
            self.exchange.abort()
            self.on_gone()
            raise httputil.HTTPOutputError('Tried to write %d bytes less than Content-Length' % self.left)
        if self.chunks and not self.gone:
            self.exchange.send(b'0\r\n\r\n')
        if not self.started and not self.gone:
            self.exchange.abort()  # The handler sent no response.
        self.finished = True
        self.close_callback = None
        if self.upgrades:
            self.loop.call_soon(self.end)
        else:
            self.exchange.end()

    def end(self):
        """Ends the exchange, unless the connection was detached meanwhile, as after a handshake."""
        if self.detached is None:
            self.exchange.end()

    def detach(self):
        self.exchange.detach()
        self.environ['uwsgi_tornado.timeout'] = 0  # A detached connection has no deadline.
        self.detached = Stream(self)
        return self.detached

    @property
    def stream(self):
        """Some applications close it."""
        return None if self.detached is not None else AttachedStream(self)


class AttachedStream:
    """The connection of a request, as far as the application may use it."""

    socket = None

    def __init__(self, connection):
        self.connection = connection

    def close(self, exc_info=False):
        self.connection.exchange.abort()
        self.connection.on_gone()

    def closed(self):
        return self.connection.gone

    def set_nodelay(self, value):
        pass


class Stream(iostream.BaseIOStream):
    """A detached connection."""

    socket = None

    def __init__(self, connection):
        self.connection = connection
        self.exchange = connection.exchange
        super().__init__()

    def fileno(self):
        return self.exchange.fileno()

    def close_fd(self):
        self.connection.loop.call_soon(self.exchange.end)  # After this stream has noted that it is closed.

    def read_from_fd(self, buf):
        return self.exchange.recv_into(buf)

    def write_to_fd(self, data):
        try:
            return self.exchange.send_now(data)
        finally:
            del data  # Tornado's buffer cannot grow while there is a view of it.
