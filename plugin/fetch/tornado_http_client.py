"""An implementation class of Tornado's AsyncHTTPClient on the C++ engine.

It runs inside the plugin. Where Tornado's two clients differ, this one does what the documentation of
HTTPRequest says, including what it says of both clients.
"""
import collections
import functools
import io
import time
import unicodedata

import uwsgi_tornado
from tornado import gen, httputil
from tornado.escape import native_str, utf8
from tornado.httpclient import AsyncHTTPClient as Base
from tornado.httpclient import HTTPError, HTTPResponse
from tornado.log import app_log
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient

METHODS_WITH_BODY = {'POST', 'PATCH', 'PUT'}
METHODS = METHODS_WITH_BODY | {'GET', 'HEAD', 'DELETE', 'OPTIONS'}
NO_RESPONSE = 599


class CurlError(HTTPError):
    """No response came. errno is libcurl's error number."""

    def __init__(self, errno, message):
        super().__init__(NO_RESPONSE, message)
        self.errno = errno


class Queued:
    """A request that waits because max_clients fetches are in progress."""

    def __init__(self, request, callback, now):
        self.request = request
        self.callback = callback
        self.since = now
        self.timeout = None


class AsyncHTTPClient(Base):
    """Tornado's AsyncHTTPClient on libcurl and the loop of uwsgi_tornado.

    max_clients: the most fetches at once; the others wait, at most for the shorter of their timeouts.
    max_body_size, max_header_size: limits of a response in bytes; a larger one is an error.

    On another loop (that of Tornado's synchronous HTTPClient in a request) Tornado's own client fetches.
    """

    def initialize(self, max_clients=10, defaults=None, max_body_size=104857600, max_header_size=65536):
        super().initialize(defaults=defaults)
        self._max_clients = max_clients
        self._limits = {'max_body_size': max_body_size, 'max_header_size': max_header_size}
        self._queue = collections.deque()
        self._active = set()
        self._tornados = None
        if not isinstance(self.io_loop.asyncio_loop, uwsgi_tornado.EventLoop):
            self._tornados = SimpleAsyncHTTPClient(force_instance=True, max_clients=max_clients, defaults=defaults, **self._limits)

    def close(self):
        super().close()
        if self._tornados is not None:
            self._tornados.close()
        for fetch in list(self._active):
            fetch.abort(CurlError(0, 'the client was closed'))
        for queued in list(self._queue):
            self._leave_queue(queued)
            self._fail(queued, CurlError(0, 'the client was closed'))

    # --- max_clients ---------------------------------------------------------------------------

    def fetch_impl(self, request, callback):
        if self._tornados is not None:
            self._tornados.fetch_impl(request, callback)
            return
        queued = Queued(request, callback, self.io_loop.time())
        self._queue.append(queued)
        self._start_queued()
        if queued in self._queue:
            limits = [limit for limit in (request.connect_timeout, request.request_timeout) if limit]
            if limits:
                queued.timeout = self.io_loop.call_later(min(limits), self._queued_too_long, queued)

    def _leave_queue(self, queued):
        self._queue.remove(queued)
        if queued.timeout is not None:
            self.io_loop.remove_timeout(queued.timeout)

    def _queued_too_long(self, queued):
        queued.timeout = None
        self._leave_queue(queued)
        self._fail(queued, HTTPTimeoutError('Timeout in request queue'))

    def _fail(self, queued, error):
        response = HTTPResponse(queued.request, NO_RESPONSE, error=error,
                                request_time=self.io_loop.time() - queued.since)
        self.io_loop.add_callback(self._answer, queued.callback, response)

    def _start_queued(self):
        while self._queue and len(self._active) < self._max_clients:
            queued = self._queue[0]
            self._leave_queue(queued)
            try:
                self._start(queued)
            except Exception as error:
                self._fail(queued, error)

    # --- One fetch -----------------------------------------------------------------------------

    def _start(self, queued):
        request = queued.request
        begun, begun_at = self.io_loop.time(), time.time()
        headers = HeaderLines(request.header_callback and functools.partial(
            self.io_loop.add_callback, request.header_callback))
        chunk = request.streaming_callback and functools.partial(
            self.io_loop.add_callback, request.streaming_callback)
        fetch = uwsgi_tornado._start_fetch(self.io_loop.asyncio_loop, headers, chunk, native_str(request.url),
                                           {**self._limits, **options_of(request)})
        self._active.add(fetch)

        def done(future):
            self._active.discard(fetch)
            error = None if future.cancelled() else future.exception()
            if future.cancelled():
                error = CurlError(0, 'the fetch was cancelled')
            response = None if error is not None else future.result()
            self._answer(queued.callback, HTTPResponse(
                request,
                code=NO_RESPONSE if response is None else response.status,
                reason=headers.reason or None,
                headers=headers.parsed if response is not None and request.header_callback is None else None,
                buffer=None if response is None else io.BytesIO(response.body),
                effective_url=None if response is None else response.effective_url,
                error=None if error is None else error_of(error),
                request_time=self.io_loop.time() - begun,
                start_time=begun_at,
                time_info={'queue': begun - queued.since, **(response.timings if response is not None else {})}))
            self._start_queued()

        fetch.future.add_done_callback(done)
        if request.body_producer is not None:
            self._produce(fetch, request.body_producer)

    def _produce(self, fetch, body_producer):
        def produced(future):
            if future.cancelled():
                error = CurlError(0, 'the body producer was cancelled')
            else:
                error = future.exception()
            if error is None:
                fetch.finish()
            else:
                fetch.abort(error)

        try:
            future = body_producer(fetch.write)
            if future is None:  # It has written the whole body.
                fetch.finish()
            else:
                self.io_loop.add_future(gen.convert_yielded(future), produced)
        except Exception as error:
            fetch.abort(error)

    def _answer(self, callback, response):
        try:
            callback(response)
        except Exception:
            app_log.error('Exception in callback %r', callback, exc_info=True)


class HeaderLines:
    """Collects the header lines of the last response, and passes each line to the callback."""

    def __init__(self, callback):
        self.callback = callback
        self.parsed = httputil.HTTPHeaders()
        self.reason = ''

    def __call__(self, line):
        text = line.decode('latin1')
        if self.callback is not None:
            self.callback(text)
        text = text.rstrip()
        if text.startswith('HTTP/'):
            self.parsed = httputil.HTTPHeaders()
            self.reason = text.split(' ', 2)[2] if text.count(' ') > 1 else ''
        elif text:
            self.parsed.parse_line(text)


def error_of(error):
    if isinstance(error, uwsgi_tornado.HTTPTimeoutError):
        return HTTPTimeoutError(str(error).split(': ', 1)[-1])
    if isinstance(error, uwsgi_tornado.HTTPError):
        return CurlError(error.curl_code, str(error).split(': ', 1)[-1])
    return error


def check_method(request):
    if request.method not in METHODS and not request.allow_nonstandard_methods:
        raise KeyError('unknown method %s' % request.method)
    if request.allow_nonstandard_methods:
        return
    present = request.body is not None or request.body_producer is not None
    if present != (request.method in METHODS_WITH_BODY):
        raise ValueError('Body must %sbe None for method %s (unless allow_nonstandard_methods is true)'
                         % ('' if present else 'not ', request.method))


def tls_options(request):
    """ssl_options, a dict like the arguments of ssl.wrap_socket(), overrides the fields of the request."""
    if request.ssl_options is None:
        options = {'verify': (request.ca_certs or True) if request.validate_cert else False,
                   'client_cert': request.client_cert, 'client_key': request.client_key}
    elif isinstance(request.ssl_options, dict):
        given = dict(request.ssl_options)
        needed = given.pop('cert_reqs', 2)
        options = {'verify': given.pop('ca_certs', None) or True if needed else False,
                   'client_cert': given.pop('certfile', None), 'client_key': given.pop('keyfile', None),
                   'ciphers': given.pop('ciphers', None)}
        if given:
            raise ValueError('ssl_options must not contain %s' % ', '.join(sorted(given)))
    else:
        raise ValueError('an ssl.SSLContext in ssl_options cannot be handed to libcurl: use a dict, or validate_cert, '
                         'ca_certs, client_cert and client_key')
    return options


def normal(text):
    """The text with one spelling for each character (RFC 7617)."""
    return unicodedata.normalize('NFC', native_str(text or ''))


def proxy_options(request):
    if not (request.proxy_host and request.proxy_port):
        return {}
    return {'proxy': '%s:%d' % (request.proxy_host, request.proxy_port),
            'proxy_username': normal(request.proxy_username) or None, 'proxy_password': normal(request.proxy_password),
            'proxy_auth_mode': request.proxy_auth_mode}


def auth_options(request):
    if request.auth_username is None:
        return {}
    return {'username': normal(request.auth_username), 'password': normal(request.auth_password),
            'auth_mode': request.auth_mode}


def header_options(request):
    headers = list(request.headers.get_all())
    names = {name.lower() for name, _ in headers}
    if request.method == 'POST' and 'content-type' not in names:
        headers.append(('Content-Type', 'application/x-www-form-urlencoded'))
    if request.expect_100_continue and 'expect' not in names:
        headers.append(('Expect', '100-continue'))
    return headers


class CurlOptions:
    """Stands for the pycurl.Curl in prepare_curl_callback: has setopt() for numbers and texts."""

    def __init__(self):
        self.options = {}

    def setopt(self, option, value):
        self.options[option] = int(value) if isinstance(value, bool) else value

    def unsetopt(self, option):
        self.options.pop(option, None)


def curl_options(request):
    if request.prepare_curl_callback is None:
        return None
    given = CurlOptions()
    request.prepare_curl_callback(given)
    return given.options


def options_of(request):
    """HTTPRequest's fields as arguments of fetch()."""
    check_method(request)
    return {
        'method': request.method,
        'headers': header_options(request),
        'body': None if request.body is None else utf8(request.body),
        '_body_is_written': True if request.body_producer is not None else None,
        'connect_timeout': request.connect_timeout or 0,
        'request_timeout': request.request_timeout or 0,
        'follow_redirects': request.follow_redirects,
        'max_redirects': request.max_redirects,
        'user_agent': request.user_agent or 'Tornado (uwsgi_tornado)',
        'interface': request.network_interface,
        'decompress': False,
        'accept_encoding': 'gzip,deflate' if request.decompress_response else None,
        'allow_ipv6': request.allow_ipv6,
        'curl_options': curl_options(request),
        'raise_error': False,
        **auth_options(request),
        **proxy_options(request),
        **tls_options(request),
    }
