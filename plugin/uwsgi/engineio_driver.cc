#include "plugin/uwsgi/engineio_driver.h"

#include "plugin/python/python_source.h"
#include "plugin/uwsgi/python_bridge.h"

namespace engine {
namespace {

using python::PyRef;

// engineio takes the names of its drivers from a list of its own. Nothing of it is imported here.
constexpr char kSource[] = R"(
import queue
import sys
import threading
import types
import weakref

import uwsgi
import uwsgi_tornado

ending = threading.Event()
queues = weakref.WeakSet()
servers = weakref.WeakSet()


class Queue(queue.Queue):
    """What is to be sent to a client; a client that polls waits for it for most of a minute."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        queues.add(self)


def end():
    """The worker ends: who sleeps ends, and who polls is answered. None is engineio's last word."""
    ending.set()
    for server in list(servers):
        event = getattr(server, 'service_task_event', None)  # Newer ones wait for it, and do not sleep.
        if event is not None:
            event.set()
    for waited_for in list(queues):
        waited_for.put(None)


class Thread:
    """A background task: on a virtual thread of the worker, or a real one where there is none."""

    def __init__(self, target, args=(), kwargs=None, **ignored):
        self.target, self.args, self.kwargs = target, args, kwargs or {}
        self.thread = threading.Thread(target=self.run, daemon=True)
        if getattr(target, '__name__', '') == '_service_task':
            servers.add(target.__self__)

    def start(self):
        try:
            self.future = uwsgi_tornado.spawn(self.run)
        except RuntimeError:  # At import, or on a thread of the application's own.
            self.thread.start()
            self.join = self.thread.join

    def run(self):
        try:
            self.target(*self.args, **self.kwargs)
        except SystemExit:
            pass
        except Exception:
            sys.excepthook(*sys.exc_info())

    def join(self, timeout=None):
        self.future.result(timeout)


class WebSocket:
    """engineio calls it as a WSGI application, which calls `app` with it."""

    def __init__(self, app, *ignored):
        self.app = app

    def __call__(self, environ, start_response):
        uwsgi.websocket_handshake()
        self.context = uwsgi.request_context()
        return self.app(self)

    def close(self):
        uwsgi.websocket_close(request_context=self.context)

    def send(self, message):
        send = uwsgi.websocket_send_binary if isinstance(message, bytes) else uwsgi.websocket_send
        send(message, request_context=self.context)

    def wait(self):
        """The next message; None when it is closed."""
        try:
            return uwsgi.websocket_recv(request_context=self.context, decode=True)
        except uwsgi.WebSocketClosed:
            return None


def sleep(seconds=0):
    """Ends the task when the worker ends: some sleep for ever."""
    if ending.wait(seconds):
        raise SystemExit


NAME = 'engineio.async_drivers.gevent_uwsgi'

driver = types.ModuleType(NAME, 'The driver of uwsgi-tornado, in the place of those of gevent and eventlet.')
driver._async = {
    'thread': Thread,
    'queue': Queue,
    'queue_empty': queue.Empty,
    'event': threading.Event,
    'websocket': WebSocket,
    'sleep': sleep,
}
# engineio asks for eventlet's first, where eventlet is installed; that one cannot wait here.
for name in (NAME, 'engineio.async_drivers.eventlet'):
    sys.modules[name] = driver
)";

PyObject* end = nullptr;  // The function above.

}  // namespace

void install_engineio_driver() {
  end = python::from_python_source(kSource, "uwsgi_tornado.engineio_driver", "end").release();
}

bool engineio_is_used() noexcept {
  return end != nullptr && PyDict_GetItemString(PyImport_GetModuleDict(), "engineio") != nullptr;
}

void end_engineio_tasks() noexcept {
  const auto done = PyRef::steal(PyObject_CallObject(end, nullptr));
  if (!done) report_python_error();
}

}  // namespace engine
