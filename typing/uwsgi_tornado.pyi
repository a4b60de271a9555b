# What type checkers know of uwsgi_tornado. tests/loop/test_stub.py compares it with the module.
import asyncio
import concurrent.futures
import contextvars
import datetime
import http.client
import sys
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from types import TracebackType
from typing import IO, Any, Literal, Protocol, TypeVar, final, overload

from tornado.httpclient import AsyncHTTPClient as _TornadoClient
from typing_extensions import ParamSpec, Self, TypeAlias, TypedDict

if sys.version_info >= (3, 14):
    from typing_extensions import disjoint_base as _disjoint_base
else:
    def _disjoint_base(kind: _T, /) -> _T: ...

__version__: str

_T = TypeVar('_T')
_P = ParamSpec('_P')
_Awaitable: TypeAlias = concurrent.futures.Future[_T] | Awaitable[_T]

# --- In a request: waiting ------------------------------------------------------------------------

def await_(awaitable: _Awaitable[_T], /, timeout: float | None = None) -> _T: ...
@overload
def gather_(*awaitables: _Awaitable[_T], return_exceptions: Literal[False] = False, timeout: float | None = None) -> list[_T]: ...
@overload
def gather_(*awaitables: _Awaitable[_T], return_exceptions: Literal[True], timeout: float | None = None) -> list[_T | BaseException]: ...
def spawn(function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> concurrent.futures.Future[_T]: ...
def to_thread(function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T: ...
def sleep(seconds: float, /) -> None: ...

@final
class no_suspend:
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

@final
class shield:
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

# --- What ends a request early --------------------------------------------------------------------

class RequestInterrupted(BaseException): ...
class RequestTimeout(RequestInterrupted): ...
class ClientDisconnected(RequestInterrupted): ...

def is_connected() -> bool: ...

class _Stopping(Protocol):
    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...
    def fileno(self) -> int: ...
    def __await__(self) -> Generator[Any, None, Literal[True]]: ...

stopping: _Stopping

# --- What the worker does -------------------------------------------------------------------------

class _Fiber(TypedDict):
    core: int | None
    method: str | None
    uri: str | None
    client: str | None
    age: float
    state: str
    waits_for: str | None
    fd: int | None
    peer: str | None
    since: float
    switches: int
    stack: int

class _BlockingReport(TypedDict):
    objects: dict[str, int]
    unlisted: dict[str, list[str]]
    suspended: dict[str, int]
    blocked: dict[str, dict[str, int]]
    preempted: int

def fibers() -> list[_Fiber]: ...
def dump() -> str: ...
def blocking_report() -> _BlockingReport: ...

# --- Fetching over HTTP ---------------------------------------------------------------------------

_Text: TypeAlias = str | bytes
_Headers: TypeAlias = Mapping[str, _Text | None] | Iterable[tuple[str, _Text | None]]
_Body: TypeAlias = _Text | bytearray | memoryview | IO[bytes] | IO[str] | Iterable[_Text]
_AuthMode: TypeAlias = Literal['basic', 'digest']

def fetch(
    url: _Text,
    *,
    method: str | None = None,
    headers: _Headers | None = None,
    body: _Body | None = None,
    connect_timeout: float | None = 20,
    request_timeout: float | None = 20,
    stall_timeout: float | None = 0,
    follow_redirects: bool | None = True,
    max_redirects: int | None = 5,
    max_body_size: int | None = 104857600,
    max_header_size: int | None = 65536,
    decompress: bool | None = True,
    accept_encoding: _Text | None = None,
    user_agent: _Text | None = None,
    username: _Text | None = None,
    password: _Text | None = None,
    auth_mode: _AuthMode | None = 'basic',
    proxy: _Text | None = None,
    proxy_username: _Text | None = None,
    proxy_password: _Text | None = None,
    proxy_auth_mode: _AuthMode | None = 'basic',
    verify: bool | _Text | None = True,
    client_cert: _Text | None = None,
    client_key: _Text | None = None,
    ciphers: _Text | None = None,
    http_version: Literal['1.0', '1.1', '2'] | None = None,
    unix_socket: _Text | None = None,
    interface: _Text | None = None,
    allow_ipv6: bool | None = True,
    protocols: Iterable[str] | None = ('http', 'https'),
    raise_error: bool | None = True,
    stream: bool | None = False,
    curl_options: dict[int, int | _Text] | None = None,
    while_connected: bool | None = False,
) -> Response: ...
def fetch_async(
    url: _Text,
    *,
    method: str | None = None,
    headers: _Headers | None = None,
    body: _Body | AsyncIterable[_Text] | None = None,
    connect_timeout: float | None = 20,
    request_timeout: float | None = 20,
    stall_timeout: float | None = 0,
    follow_redirects: bool | None = True,
    max_redirects: int | None = 5,
    max_body_size: int | None = 104857600,
    max_header_size: int | None = 65536,
    decompress: bool | None = True,
    accept_encoding: _Text | None = None,
    user_agent: _Text | None = None,
    username: _Text | None = None,
    password: _Text | None = None,
    auth_mode: _AuthMode | None = 'basic',
    proxy: _Text | None = None,
    proxy_username: _Text | None = None,
    proxy_password: _Text | None = None,
    proxy_auth_mode: _AuthMode | None = 'basic',
    verify: bool | _Text | None = True,
    client_cert: _Text | None = None,
    client_key: _Text | None = None,
    ciphers: _Text | None = None,
    http_version: Literal['1.0', '1.1', '2'] | None = None,
    unix_socket: _Text | None = None,
    interface: _Text | None = None,
    allow_ipv6: bool | None = True,
    protocols: Iterable[str] | None = ('http', 'https'),
    raise_error: bool | None = True,
    stream: bool | None = False,
    curl_options: dict[int, int | _Text] | None = None,
) -> asyncio.Future[Response]: ...

@final
class Response:
    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def headers(self) -> http.client.HTTPMessage: ...
    @property
    def body(self) -> Any: ...  # bytes; None where it is streamed.
    @property
    def effective_url(self) -> str: ...
    @property
    def http_version(self) -> str: ...
    @property
    def timings(self) -> dict[str, float]: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...
    def __aenter__(self) -> asyncio.Future[Self]: ...
    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> asyncio.Future[None]: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Awaitable[bytes]: ...

class HTTPError(Exception):
    code: int
    response: Response | None
    curl_code: int

class HTTPTimeoutError(HTTPError, TimeoutError): ...

class AsyncHTTPClient(_TornadoClient):
    def initialize(  # type: ignore[override]
        self,
        max_clients: int = 10,
        defaults: dict[str, Any] | None = None,
        max_body_size: int = 104857600,
        max_header_size: int = 65536,
    ) -> None: ...

# --- The event loop -------------------------------------------------------------------------------

class EventLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None: ...

class EventLoopPolicy(asyncio.DefaultEventLoopPolicy): ...

@final
class Handle(asyncio.Handle):
    def get_context(self) -> contextvars.Context: ...

@final
class TimerHandle(asyncio.TimerHandle):
    def get_context(self) -> contextvars.Context: ...

def run(main: Coroutine[Any, Any, _T], /, *, debug: bool | None = None) -> _T: ...

# --- The loop under Tornado's names ---------------------------------------------------------------

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

_Descriptor = TypeVar('_Descriptor', bound=int | _HasFileno)

@_disjoint_base
class IOLoop:
    NONE: int
    READ: int
    WRITE: int
    ERROR: int
    @property
    def asyncio_loop(self) -> asyncio.AbstractEventLoop: ...
    def __init__(self, *, make_current: bool | None = None, asyncio_loop: asyncio.AbstractEventLoop | None = None) -> None: ...
    @staticmethod
    def instance() -> IOLoop: ...
    @overload
    @staticmethod
    def current(instance: Literal[True] = True) -> IOLoop: ...
    @overload
    @staticmethod
    def current(instance: bool) -> IOLoop | None: ...
    def make_current(self) -> None: ...
    @staticmethod
    def clear_current() -> None: ...
    def install(self) -> None: ...
    @staticmethod
    def clear_instance() -> None: ...
    def add_handler(self, fd: _Descriptor, handler: Callable[[_Descriptor, int], object], events: int) -> None: ...
    def update_handler(self, fd: int | _HasFileno, events: int) -> None: ...
    def remove_handler(self, fd: int | _HasFileno, /) -> None: ...
    def add_callback(self, callback: Callable[_P, object], /, *args: _P.args, **kwargs: _P.kwargs) -> None: ...
    def add_callback_from_signal(self, callback: Callable[_P, object], /, *args: _P.args, **kwargs: _P.kwargs) -> None: ...
    def spawn_callback(self, callback: Callable[_P, object], /, *args: _P.args, **kwargs: _P.kwargs) -> None: ...
    def add_timeout(
        self, deadline: float | datetime.timedelta, callback: Callable[_P, object], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> object: ...
    def call_later(self, delay: float, callback: Callable[_P, object], /, *args: _P.args, **kwargs: _P.kwargs) -> object: ...
    def call_at(self, when: float, callback: Callable[_P, object], /, *args: _P.args, **kwargs: _P.kwargs) -> object: ...
    def remove_timeout(self, timeout: object, /) -> None: ...
    @overload
    def add_future(self, future: asyncio.Future[_T], callback: Callable[[asyncio.Future[_T]], object]) -> None: ...
    @overload
    def add_future(
        self, future: concurrent.futures.Future[_T], callback: Callable[[concurrent.futures.Future[_T]], object]
    ) -> None: ...
    def run_in_executor(
        self, executor: concurrent.futures.Executor | None, func: Callable[..., _T], /, *args: Any
    ) -> asyncio.Future[_T]: ...
    def set_default_executor(self, executor: concurrent.futures.ThreadPoolExecutor, /) -> None: ...
    def time(self) -> float: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def run_sync(self, func: Callable[[], Awaitable[_T] | _T], timeout: float | None = None) -> _T: ...
    def close(self, all_fds: bool = False) -> None: ...

@_disjoint_base
class PeriodicCallback:
    callback: Callable[[], object]
    callback_time: float
    jitter: float
    @property
    def io_loop(self) -> IOLoop | None: ...
    def __init__(
        self, callback: Callable[[], object], callback_time: float | datetime.timedelta, jitter: float = 0
    ) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def is_running(self) -> bool: ...
