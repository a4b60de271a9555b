// Objects of asyncio, looked up once.
#pragma once

#include "plugin/python/py_ref.h"

namespace python {

// Borrowed: they live as long as the process.
struct AsyncioNames {
  PyObject* base_loop;  // asyncio.unix_events._UnixSelectorEventLoop
  PyObject* base_events;
  PyObject* events;
  PyObject* unix_events;
  PyObject* format_helpers;
  PyObject* handle;
  PyObject* timer_handle;
  PyObject* thread_safe_handle;  // asyncio.events._ThreadSafeHandle; null up to CPython 3.13
  PyObject* future;
  PyObject* task;  // asyncio.Task
  PyObject* tasks;
  PyObject* timeout_error;
  PyObject* cancelled_error;
  PyObject* ensure_future;
  PyObject* wrap_future;
  PyObject* gather;
  PyObject* concurrent_future;  // concurrent.futures.Future
  PyObject* partial;
  PyObject* get_asyncgen_hooks;
  PyObject* set_asyncgen_hooks;
  PyObject* main_thread;
  PyObject* simple_namespace;  // types.SimpleNamespace
  PyObject* selector_key;      // selectors.SelectorKey
  PyObject* logger;
  PyObject* flow_control;       // asyncio.transports._FlowControlMixin
  PyObject* buffered_protocol;  // asyncio.BufferedProtocol
  PyObject* transport_socket;   // asyncio.trsock.TransportSocket
  PyObject* set_result_unless_cancelled;
  PyObject* socket;  // socket.socket
};

// Imports asyncio on the first call. Throws PyError.
const AsyncioNames& asyncio_names();

// asyncio.events._get_running_loop() and _set_running_loop(): None where no loop runs.
PyRef get_running_loop();
void set_running_loop(PyObject* loop);

// asyncio.tasks.Task as it is now: asyncio's own tests replace it. Throws PyError.
PyRef task_type();
// future.done(). Throws PyError.
bool is_done(PyObject* future);
// A concurrent.futures.Future, or one of a class derived from it. Throws PyError.
bool is_concurrent_future(PyObject* object);
// True on the thread that Python takes for the main one. Throws PyError.
bool on_main_thread();

}  // namespace python
