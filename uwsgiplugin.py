# Build manifest, read by uwsgi --build-plugin and by UWSGI_EMBED_PLUGINS (docs/build.md).
#
# The headers must be those of the Python that uWSGI embeds. Where uWSGI is built along, that is
# the interpreter that runs this file; else the one that PYTHON names, or /usr/bin/python3.
import json
import os
import re
import shlex
import subprocess
import sys

NAME = 'tornado'


def _find_here():
    """This folder: uWSGI's builder runs the file with neither __file__ nor, in 2.0, its name."""
    frame = sys._getframe()
    while frame:
        for folder in (os.path.dirname(frame.f_code.co_filename), frame.f_locals.get('path')):
            if isinstance(folder, str) and os.path.exists(os.path.join(folder, 'suspend', 'fiber.cc')):
                return os.path.abspath(folder)
        frame = frame.f_back
    raise SystemExit('uwsgiplugin.py: the folder it lies in cannot be told')


_here = _find_here()
# --extra-plugin is what uwsgi --build-plugin passes on.
_embedding = '--extra-plugin' not in sys.argv and (
    'UWSGI_EMBED_PLUGINS' in os.environ or os.path.exists('core/uwsgi.c'))


def _python():
    if _embedding:
        return sys.executable
    if os.environ.get('PYTHON'):
        return os.environ['PYTHON']
    return '/usr/bin/python3' if os.path.exists('/usr/bin/python3') else sys.executable


def _ask_python():
    """What the Python to build for says of itself."""
    code = ('import json, platform, sysconfig as s; names = ("LIBDIR", "LDVERSION", "Py_ENABLE_SHARED", "Py_GIL_DISABLED"); '
            'print(json.dumps({"release": platform.python_version(), "include": s.get_path("include"), '
            '"platinclude": s.get_path("platinclude"), **{name: s.get_config_var(name) for name in names}}))')
    return json.loads(subprocess.check_output([_python(), '-c', code]).decode())


def _require(folder, header, remedy):
    if not os.path.exists(os.path.join(folder, header)):
        raise SystemExit('uwsgiplugin.py: there is no %s in %s: %s' % (header, folder, remedy))
    return folder


def _check_python(config):
    """What thread_state.cc, which knows CPython's insides, has been read against."""
    release = tuple(map(int, re.findall(r'\d+', config['release'])[:3]))
    described = 'uwsgiplugin.py: %s is Python %s' % (_python(), config['release'])
    if (3, 14) <= release < (3, 14, 2):
        raise SystemExit(described + ', which cannot be told about a fiber\'s stack: use 3.14.2 or later')
    if config['Py_GIL_DISABLED']:
        raise SystemExit(described + ' without a GIL, which keeps state for each OS thread that fibers cannot share: '
                         'use the same one with its GIL, or name another with PYTHON=')
    if not (3, 8) <= release < (3, 15):
        raise SystemExit(described + ': the plugin is for 3.8 to 3.14 (docs/build.md), name another with PYTHON=')


def _version():
    """The newest entry of the changelog."""
    with open(os.path.join(_here, 'CHANGELOG.md')) as changelog:
        return next(line.split()[1] for line in changelog if line.startswith('## '))


def _has_libcurl():
    compiler = shlex.split(os.environ.get('CC', 'gcc'))  # May be "ccache gcc".
    return subprocess.run([*compiler, '-E', '-x', 'c', '-'], input=b'#include <curl/curl.h>\n',
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def _libcurl():
    """The file that -lcurl would name: libcurl.so.4, or that of another TLS library."""
    compiler = shlex.split(os.environ.get('CC', 'gcc'))  # May be "ccache gcc".
    path = subprocess.check_output([*compiler, '-print-file-name=libcurl.so']).decode().strip()
    found = re.search(r'libcurl[\w-]*\.so\.\d+', os.path.realpath(path))
    return found.group() if found else 'libcurl.so.4'


_config = _ask_python()
_check_python(_config)
# uwsgi_python.h: in the source tree of an embedded build, else where UWSGI_SRC or Debian puts it.
_uwsgi_src = '.' if _embedding else os.environ.get('UWSGI_SRC', '/usr/src/uwsgi')

CFLAGS = [
    '-std=gnu++17', '-fvisibility=hidden', '-ftls-model=initial-exec', '-fno-strict-aliasing',
    '-Wall', '-Wextra', '-Werror', '-Wno-missing-field-initializers',
    # Which POSIX the system's headers offer is Python's choice, whichever of them a source includes first.
    '-include', 'pyconfig.h',
    # Sizes of '#' formats, for whichever header includes Python.h first.
    '-DPY_SSIZE_T_CLEAN=',
    '-DUWSGI_TORNADO_VERSION=\\"' + _version() + '\\"',
    '-I' + _here,
    '-I' + _require(_config['include'], 'Python.h',
                    'install the headers of %s (python3-dev), or name another with PYTHON=' % _python()),
    '-I' + _config['platinclude'],
    '-I' + _require(_uwsgi_src, 'plugins/python/uwsgi_python.h',
                    'install uwsgi-src, or name a source tree of uWSGI with UWSGI_SRC='),
]
CFLAGS += os.environ.get('UWSGI_TORNADO_CFLAGS', '').split()

LDFLAGS = os.environ.get('UWSGI_TORNADO_LDFLAGS', '').split()
if not _embedding:
    # uWSGI opens plugins with RTLD_GLOBAL: instances of the C++ library's templates would be everybody's.
    LDFLAGS.append('-Wl,--version-script=' + os.path.join(_here, 'plugin', 'exports.map'))

# Neither libev nor libcurl: plugin/loop/private_library.h opens them.
LIBS = ['-lstdc++', '-lboost_context', '-lpthread', '-ldl']
if not _embedding and _config['Py_ENABLE_SHARED']:
    # Lets the plugin load, and say what is wrong, where uWSGI runs another Python or none.
    LIBS += ['-L' + _config['LIBDIR'], '-Wl,-rpath,' + _config['LIBDIR'], '-lpython' + _config['LDVERSION']]

# Fetching is left out where libcurl is not to be had, or not wanted.
if os.environ.get('UWSGI_TORNADO_CURL', 'yes') != 'no' and _has_libcurl():
    _fetching = [
        'plugin/http/libcurl.cc',
        'plugin/http/response_head.cc',
        'plugin/http/transfer.cc',
        'plugin/http/client.cc',
        'plugin/fetch/errors.cc',
        'plugin/fetch/arguments.cc',
        'plugin/fetch/response.cc',
        'plugin/fetch/async_fetch.cc',
        'plugin/fetch/tornado_http_client.cc',
        'plugin/fetch/fetch_module.cc',
    ]
    CFLAGS.append('-DUWSGI_TORNADO_LIBCURL=\\"' + _libcurl() + '\\"')
else:
    _fetching = ['plugin/fetch/without_libcurl.cc']

GCC_LIST = [
    'suspend/stack.cc',
    'suspend/thread_local_block.cc',
    'suspend/thread_block.cc',
    'suspend/fiber.cc',
    'suspend/baton.cc',
    'suspend/coroutine.cc',
    'plugin/loop/private_library.cc',
    'plugin/loop/libev.cc',
    'plugin/loop/ready_queue.cc',
    'plugin/loop/io_registration.cc',
    'plugin/loop/io_loop.cc',
    'plugin/loop/peer_watch.cc',
    'plugin/blocking/libc.cc',
    'plugin/blocking/gate.cc',
    'plugin/blocking/tally.cc',
    'plugin/blocking/got.cc',
    'plugin/blocking/close_listener.cc',
    'plugin/blocking/registered_sockets.cc',
    'plugin/blocking/wait.cc',
    'plugin/blocking/closing.cc',
    'plugin/blocking/fd_retry.cc',
    'plugin/blocking/offload.cc',
    'plugin/blocking/descriptors.cc',
    'plugin/blocking/poll_calls.cc',
    'plugin/blocking/transfer_calls.cc',
    'plugin/blocking/connection_calls.cc',
    'plugin/blocking/sleep_calls.cc',
    'plugin/blocking/address_waiters.cc',
    'plugin/blocking/lock_calls.cc',
    'plugin/blocking/condition_calls.cc',
    'plugin/blocking/thread_calls.cc',
    'plugin/blocking/c11_calls.cc',
    'plugin/blocking/futex_calls.cc',
    'plugin/blocking/mutex_calls.cc',
    'plugin/blocking/name_calls.cc',
    'plugin/blocking/process_calls.cc',
    'plugin/blocking/ipc_calls.cc',
    'plugin/blocking/splice_calls.cc',
    'plugin/blocking/open_calls.cc',
    'plugin/blocking/signal_calls.cc',
    'plugin/blocking/signal_mask.cc',
    'plugin/blocking/sigwait_calls.cc',
    'plugin/blocking/file_calls.cc',
    'plugin/blocking/loader_calls.cc',
    'plugin/blocking/identity.cc',
    'plugin/blocking/object_choice.cc',
    'plugin/blocking/replacements.cc',
    'plugin/blocking/redirection.cc',
    'plugin/python/gil_handover.cc',
    'plugin/python/frames.cc',
    'plugin/python/gil.cc',
    'plugin/python/state_fields.cc',
    'plugin/python/thread_state.cc',
    'plugin/python/virtual_thread.cc',
    'plugin/python/data_stack.cc',
    'plugin/python/gil_gate.cc',
    'plugin/greenlet/greenlet_stack.cc',
    'plugin/greenlet/asyncio_of_thread.cc',
    'plugin/greenlet/greenlet.cc',
    'plugin/greenlet/greenlet_thread.cc',
    'plugin/greenlet/greenlet_type.cc',
    'plugin/greenlet/greenlet_module.cc',
    'plugin/python/watchdog.cc',
    'plugin/python/preemption.cc',
    'plugin/python/application.cc',
    'plugin/python/interruption.cc',
    'plugin/python/python_source.cc',
    'plugin/asyncio/asyncio_names.cc',
    'plugin/asyncio/policies.cc',
    'plugin/asyncio/handle.cc',
    'plugin/asyncio/transport.cc',
    'plugin/asyncio/transport_io.cc',
    'plugin/asyncio/transport_type.cc',
    'plugin/asyncio/write_queue.cc',
    'plugin/asyncio/kept_writes.cc',
    'plugin/asyncio/tls_library.cc',
    'plugin/asyncio/tls_protocol.cc',
    'plugin/asyncio/tls_protocol_type.cc',
    'plugin/asyncio/socket_fields.cc',
    'plugin/asyncio/coroutine_object.cc',
    'plugin/asyncio/sock_operation.cc',
    'plugin/asyncio/datagram_transport.cc',
    'plugin/asyncio/stream_feed.cc',
    'plugin/asyncio/pipe_transport.cc',
    'plugin/asyncio/timer_heap.cc',
    'plugin/asyncio/event_loop_fd.cc',
    'plugin/asyncio/event_loop_signals.cc',
    'plugin/asyncio/event_loop_process.cc',
    'plugin/asyncio/event_loop.cc',
    'plugin/asyncio/event_loop_fields.cc',
    'plugin/asyncio/event_loop_type.cc',
    'plugin/asyncio/event_loop_policy.cc',
    'plugin/tornado/io_loop_callbacks.cc',
    'plugin/tornado/io_loop_timeouts.cc',
    'plugin/tornado/io_loop_handlers.cc',
    'plugin/tornado/io_loop_running.cc',
    'plugin/tornado/io_loop_current.cc',
    'plugin/tornado/tornado_io_loop.cc',
    'plugin/tornado/periodic_callback.cc',
    'plugin/module/debug_module.cc',
    'plugin/module/worker_view.cc',
    'plugin/module/module.cc',
    'plugin/asyncio/worker_loop.cc',
    'plugin/asyncio/await.cc',
    'plugin/asyncio/await_functions.cc',
    'plugin/asyncio/spawn.cc',
    'plugin/asyncio/stopping.cc',
    'plugin/asyncio/asgiref.cc',
    'plugin/asyncio/executor.cc',
    'plugin/tornado/tornado_callbacks.cc',
    'plugin/uwsgi/option_numbers.cc',
    'plugin/uwsgi/options.cc',
    'plugin/uwsgi/repeated_strings.cc',
    'plugin/uwsgi/wsgi_callables.cc',
    'plugin/uwsgi/interfaces.cc',
    'plugin/uwsgi/python_bridge.cc',
    'plugin/uwsgi/python_requests.cc',
    'plugin/request/async_wait.cc',
    'plugin/request/harakiri.cc',
    'plugin/observe/harakiri_report.cc',
    'plugin/observe/fiber_dump.cc',
    'plugin/uwsgi/io_errors.cc',
    'plugin/request/coalesced_chunks.cc',
    'plugin/request/request_limits.cc',
    'plugin/observe/overrun.cc',
    'plugin/observe/signal_log.cc',
    'plugin/observe/block_watch.cc',
    'plugin/request/request_times.cc',
    'plugin/request/request_host.cc',
    'plugin/observe/timings.cc',
    'plugin/request/request_thread.cc',
    'plugin/request/keep_alive.cc',
    'plugin/request/websocket_frames.cc',
    'plugin/request/request_framing.cc',
    'plugin/request/websocket.cc',
    'plugin/exchange/chunked_decoder.cc',
    'plugin/exchange/header_names.cc',
    'plugin/exchange/exchange.cc',
    'plugin/exchange/exchange_object.cc',
    'plugin/tornado_web/tornado_web.cc',
    'plugin/engine/websocket_functions.cc',
    'plugin/asgi/message.cc',
    'plugin/asgi/operation.cc',
    'plugin/asgi/running_application.cc',
    'plugin/asgi/gathering.cc',
    'plugin/asgi/connection.cc',
    'plugin/asgi/scope.cc',
    'plugin/asgi/request_body.cc',
    'plugin/asgi/response.cc',
    'plugin/asgi/http_connection.cc',
    'plugin/asgi/websocket_connection.cc',
    'plugin/asgi/lifespan.cc',
    'plugin/asgi/interface.cc',
    'plugin/uwsgi/connection_socket.cc',
    'plugin/uwsgi/engineio_driver.cc',
    'plugin/engine/core.cc',
    'plugin/engine/core_asked.cc',
    'plugin/engine/worker_loads.cc',
    'plugin/engine/lingering_close.cc',
    'plugin/engine/overload.cc',
    'plugin/engine/refusals.cc',
    'plugin/engine/core_pool.cc',
    'plugin/engine/listeners.cc',
    'plugin/observe/metrics.cc',
    'plugin/observe/prometheus.cc',
    'plugin/engine/spawned_threads.cc',
    'plugin/engine/signals.cc',
    'plugin/engine/shutdown_signals.cc',
    'plugin/engine/hooks.cc',
    'plugin/engine/locks.cc',
    'plugin/engine/uwsgi_module.cc',
    'plugin/engine/engine.cc',
    'plugin/engine/worker.cc',
    'plugin/plugin.cc',
] + _fetching

# `make` has compiled the sources itself, several at once, into this folder; uWSGI's builder links them.
_objects = os.environ.get('UWSGI_TORNADO_OBJECTS')
if _objects:
    GCC_LIST = [os.path.relpath(os.path.join(_objects, name[:-len('.cc')] + '.o'), _here) for name in GCC_LIST]
