#include "plugin/asyncio/asyncio_names.h"

namespace python {
namespace {

PyObject* import(const char* module) { return py_check(PyImport_ImportModule(module)).release(); }

PyObject* name_of(const char* module, const char* name) { return imported(module, name).release(); }

AsyncioNames look_up() {
  AsyncioNames names;
  names.base_loop = name_of("asyncio.unix_events", "_UnixSelectorEventLoop");
  names.base_events = import("asyncio.base_events");
  names.events = import("asyncio.events");
  names.unix_events = import("asyncio.unix_events");
  names.format_helpers = import("asyncio.format_helpers");
  names.handle = name_of("asyncio.events", "Handle");
  names.timer_handle = name_of("asyncio.events", "TimerHandle");
  names.thread_safe_handle = PyObject_GetAttrString(names.events, "_ThreadSafeHandle");
  PyErr_Clear();
  names.future = name_of("asyncio.futures", "Future");
  names.task = name_of("asyncio", "Task");
  names.tasks = import("asyncio.tasks");
  names.timeout_error = name_of("asyncio", "TimeoutError");
  names.cancelled_error = name_of("asyncio", "CancelledError");
  names.ensure_future = name_of("asyncio", "ensure_future");
  names.wrap_future = name_of("asyncio", "wrap_future");
  names.gather = name_of("asyncio", "gather");
  names.concurrent_future = name_of("concurrent.futures", "Future");
  names.partial = name_of("functools", "partial");
  names.get_asyncgen_hooks = name_of("sys", "get_asyncgen_hooks");
  names.set_asyncgen_hooks = name_of("sys", "set_asyncgen_hooks");
  names.main_thread = name_of("threading", "main_thread");
  names.simple_namespace = name_of("types", "SimpleNamespace");
  names.selector_key = name_of("selectors", "SelectorKey");
  names.logger = name_of("asyncio.log", "logger");
  names.flow_control = name_of("asyncio.transports", "_FlowControlMixin");
  names.buffered_protocol = name_of("asyncio.protocols", "BufferedProtocol");
  names.transport_socket = name_of("asyncio.trsock", "TransportSocket");
  names.set_result_unless_cancelled = name_of("asyncio.futures", "_set_result_unless_cancelled");
  names.socket = name_of("socket", "socket");
  return names;
}

}  // namespace

const AsyncioNames& asyncio_names() {
  static bool known = false;
  static AsyncioNames names;
  if (!known) {
    names = look_up();
    known = true;
  }
  return names;
}

PyRef get_running_loop() {
  return py_check(PyObject_CallMethod(asyncio_names().events, "_get_running_loop", nullptr));
}

void set_running_loop(PyObject* loop) {
  py_check(PyObject_CallMethod(asyncio_names().events, "_set_running_loop", "O", loop));
}

PyRef task_type() {
  static PyObject* const name = py_check(PyUnicode_InternFromString("Task")).release();
  return py_check(PyObject_GetAttr(asyncio_names().tasks, name));
}

bool is_done(PyObject* future) {
  static PyObject* const name = py_check(PyUnicode_InternFromString("done")).release();
  return is_true(call_method(future, name));
}

bool is_concurrent_future(PyObject* object) { return is_instance(object, asyncio_names().concurrent_future); }

bool on_main_thread() {
  const PyRef thread = py_check(PyObject_CallObject(asyncio_names().main_thread, nullptr));
  const PyRef ident = py_check(PyObject_GetAttrString(thread.get(), "ident"));
  return ident.get() != Py_None && PyLong_AsUnsignedLong(ident.get()) == PyThread_get_thread_ident();
}

}  // namespace python
