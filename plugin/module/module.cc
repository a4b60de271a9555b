#include "plugin/module/module.h"
#include "plugin/blocking/tally.h"

#include <poll.h>

#include <cstdint>
#include <utility>

#include "plugin/asyncio/await_functions.h"
#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/event_loop_policy.h"
#include "plugin/asyncio/spawn.h"
#include "plugin/asyncio/stopping.h"
#include "plugin/blocking/call.h"
#include "plugin/blocking/redirection.h"
#include "plugin/fetch/fetch_module.h"
#include "plugin/module/debug_module.h"
#include "plugin/module/worker_view.h"
#include "plugin/python/interruption.h"
#include "plugin/python/preemption.h"
#include "plugin/python/static_type.h"
#include "plugin/python/virtual_thread.h"
#include "plugin/tornado/periodic_callback.h"
#include "plugin/tornado/tornado_io_loop.h"

namespace python {
namespace {

// --- no_suspend(), shield(): sections of a request ----------------------------------------------

struct Section {
  PyObject_HEAD std::uint64_t
      task;  // Whose it is (TaskState::number()); 0 outside a request, where there is nothing to do.
};

// What begins and ends a kind of section.
struct NoSuspend {
  static constexpr char kName[] = "uwsgi_tornado.no_suspend";
  static void begin(TaskState& task) noexcept { task.forbid_suspension(); }
  static void end(TaskState& task) noexcept { task.allow_suspension(); }
  static constexpr char kDoc[] =
      "no_suspend()\n--\n\n"
      "A context manager. Inside it, blocking calls of this request block the worker instead of\n"
      "suspending the request, so no other request runs. Use it for short sections that must not be\n"
      "interleaved. Sections may nest, each with its own no_suspend(). A section that is left open ends\n"
      "with the request. Outside a request it does nothing.\n\n"
      "Raises RuntimeError if one object is entered twice, or left by another request.";
};

struct Shield {
  static constexpr char kName[] = "uwsgi_tornado.shield";
  static void begin(TaskState& task) noexcept { task.interrupt().shield(); }
  static void end(TaskState& task) noexcept { task.interrupt().unshield(); }
  static constexpr char kDoc[] =
      "shield()\n--\n\n"
      "A context manager. Inside it, RequestTimeout and ClientDisconnected do not end the waits of this\n"
      "request. Use it for work that must be finished, such as a clean-up. An interruption that arrives\n"
      "meanwhile is raised at the first wait after the section. Sections may nest, each with its own\n"
      "shield(). A section that is left open ends with the request. Outside a request it does nothing.\n\n"
      "Raises RuntimeError if one object is entered twice, or left by another request.";
};

template <typename Kind>
PyObject* section_enter(PyObject* self, PyObject*) noexcept {
  auto* section = reinterpret_cast<Section*>(self);
  if (section->task != 0) {
    PyErr_Format(PyExc_RuntimeError, "this %s() has been entered; make another for a nested section",
                 Kind::kName);
    return nullptr;
  }
  if (VirtualThread* const thread = VirtualThread::current()) {
    section->task = thread->task().number();
    Kind::begin(thread->task());
  }
  return PyRef::borrow(self).release();
}

template <typename Kind>
PyObject* section_exit(PyObject* self, PyObject*) noexcept {
  auto* section = reinterpret_cast<Section*>(self);
  if (section->task == 0) return none().release();
  VirtualThread* const thread = VirtualThread::current();
  if (thread == nullptr || thread->task().number() != section->task) {
    PyErr_Format(PyExc_RuntimeError, "a %s() section must end in the request that began it", Kind::kName);
    return nullptr;
  }
  Kind::end(thread->task());
  section->task = 0;
  return none().release();
}

// Borrowed. Throws PyError.
template <typename Kind>
PyObject* section_type() {
  static PyMethodDef methods[] = {
      {"__enter__", section_enter<Kind>, METH_NOARGS, nullptr},
      {"__exit__", section_exit<Kind>, METH_VARARGS, nullptr},
      {nullptr, nullptr, 0, nullptr},
  };
  return reinterpret_cast<PyObject*>(static_type<Section>(Kind::kName, [](PyTypeObject& t) {
    t.tp_doc = Kind::kDoc;
    t.tp_methods = methods;
    t.tp_new = PyType_GenericNew;
  }));
}

// --- is_connected() --------------------------------------------------------------------------

PyObject* is_connected(PyObject*, PyObject*) noexcept {
  return py_boundary([] {
    VirtualThread* const thread = VirtualThread::current();
    if (thread == nullptr || !thread->has_client()) {
      raise(PyExc_RuntimeError, "is_connected() is about the client of a request: call it in a request");
    }
    pollfd look{thread->client_fd(), POLLRDHUP, 0};
    const bool gone =
        look.fd < 0 || poll(&look, 1, 0) > 0;  // Or an error or a hang-up, which are always told.
    return PyRef::borrow(gone ? Py_False : Py_True);
  });
}

// --- blocking_report() ----------------------------------------------------------------------

void set_item(const PyRef& dict, const char* key, PyRef value) {
  py_check_status(PyDict_SetItemString(dict.get(), key, value.get()));
}

PyRef redirected_objects() {
  PyRef objects = py_check(PyDict_New());
  const blocking::Redirection* active = blocking::Redirection::active();
  if (active == nullptr) return objects;
  for (const auto& object : active->objects()) {
    set_item(objects, object.name.c_str(), py_check(PyLong_FromLong(object.slots)));
  }
  return objects;
}

PyRef unlisted_libraries() {
  PyRef libraries = py_check(PyDict_New());
  const blocking::Redirection* active = blocking::Redirection::active();
  if (active == nullptr) return libraries;
  for (const auto& library : active->unlisted()) {
    PyRef calls = py_check(PyList_New(0));
    for (const std::string_view call : library.calls) {
      const PyRef name =
          py_check(PyUnicode_FromStringAndSize(call.data(), static_cast<Py_ssize_t>(call.size())));
      py_check_status(PyList_Append(calls.get(), name.get()));
    }
    set_item(libraries, library.name.c_str(), std::move(calls));
  }
  return libraries;
}

PyRef times_suspended() {
  PyRef calls = py_check(PyDict_New());
  for (const auto* tally = blocking::Tally::first(); tally != nullptr; tally = tally->next) {
    if (tally->suspended == 0) continue;
    set_item(calls, tally->name, py_check(PyLong_FromUnsignedLongLong(tally->suspended)));
  }
  return calls;
}

PyRef times_blocked() {
  PyRef calls = py_check(PyDict_New());
  for (const auto* tally = blocking::Tally::first(); tally != nullptr; tally = tally->next) {
    PyRef reasons = py_check(PyDict_New());
    for (int why = 0; why < blocking::kRefusals; ++why) {
      if (tally->blocked[why] == 0) continue;
      set_item(reasons, blocking::name_of(static_cast<blocking::Refusal>(why)),
               py_check(PyLong_FromUnsignedLongLong(tally->blocked[why])));
    }
    if (PyDict_Size(reasons.get()) > 0) set_item(calls, tally->name, std::move(reasons));
  }
  return calls;
}

PyObject* blocking_report(PyObject*, PyObject*) noexcept {
  return py_boundary([] {
    PyRef report = py_check(PyDict_New());
    set_item(report, "objects", redirected_objects());
    set_item(report, "unlisted", unlisted_libraries());
    set_item(report, "suspended", times_suspended());
    set_item(report, "blocked", times_blocked());
    set_item(report, "preempted", py_check(PyLong_FromUnsignedLongLong(preemption_count())));
    return report;
  });
}

// --- What needs asyncio: looked up when first asked for, so that an import stays cheap ---------

struct LazyName {
  const char* name;
  PyObject* (*make)();  // Borrowed. Throws PyError.
};

PyObject* handle_class() {
  need_handle_types();
  return reinterpret_cast<PyObject*>(handle_type());
}
PyObject* timer_handle_class() {
  need_handle_types();
  return reinterpret_cast<PyObject*>(timer_handle_type());
}

constexpr LazyName kLazyNames[] = {
    {"AsyncHTTPClient", tornado_http_client},
    {"EventLoop", event_loop_type},
    {"EventLoopPolicy", event_loop_policy_type},
    {"Handle", handle_class},
    {"IOLoop", io_loop_type},
    {"PeriodicCallback", periodic_callback_type},
    {"TimerHandle", timer_handle_class},
};

// __getattr__(name) of the module (PEP 562).
PyObject* module_getattr(PyObject* module, PyObject* name) noexcept {
  return py_boundary([=] {
    for (const LazyName& lazy : kLazyNames) {
      if (!PyUnicode_Check(name) || PyUnicode_CompareWithASCIIString(name, lazy.name) != 0) continue;
      PyRef value = PyRef::borrow(lazy.make());
      py_check_status(PyObject_SetAttr(module, name, value.get()));
      return value;
    }
    raise(PyExc_AttributeError, "module 'uwsgi_tornado' has no attribute %R", name);
  });
}

PyObject* module_dir(PyObject* module, PyObject*) noexcept {
  return py_boundary([=] {
    PyRef names = py_check(PyDict_Keys(PyModule_GetDict(module)));
    for (const LazyName& lazy : kLazyNames) {
      const PyRef name = py_check(PyUnicode_FromString(lazy.name));
      const int known = PySequence_Contains(names.get(), name.get());
      py_check_status(known);
      if (known == 0) py_check_status(PyList_Append(names.get(), name.get()));
    }
    return names;
  });
}

PyMethodDef module_methods[] = {
    {"__getattr__", module_getattr, METH_O, nullptr},
    {"__dir__", module_dir, METH_NOARGS, nullptr},
    {"run", as_method(run), METH_VARARGS | METH_KEYWORDS, kRunDoc},
    {"is_connected", is_connected, METH_NOARGS,
     "is_connected()\n--\n\n"
     "Returns False when the client of this request has closed the connection or will send no more, even\n"
     "if bytes it sent before are still unread. Costs one system call. Behind a proxy, the connection is\n"
     "the proxy's.\n\n"
     "Raises RuntimeError outside a request."},
    {"blocking_report", blocking_report, METH_NOARGS,
     "blocking_report()\n--\n\n"
     "Returns what blocking calls have done in this worker so far, as a dict:\n"
     "  objects    {file name: redirected slots} of each library whose calls may suspend\n"
     "  unlisted   {file name: calls} of each other library that uses calls which may block the worker\n"
     "  suspended  {call: times it suspended a request}\n"
     "  blocked    {call: {reason: times}} of the calls in requests that blocked the worker for\n"
     "             1 ms or more, with the reason why they did not suspend\n"
     "  preempted  times a computing request gave way to others"},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    "uwsgi_tornado",
    "The engine that runs this worker's requests, each on its own fiber, and its event loop.\n\n"
    "As a plain extension module it has only the event loop. There is no worker then, so no_suspend()\n"
    "does nothing and blocking_report() is empty.",
    -1,
    module_methods,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace

PyObject* create_module() noexcept {
  return py_boundary([] {
    PyRef module = py_check(PyModule_Create(&module_definition));
    const std::pair<const char*, PyObject*> types[] = {
        {"no_suspend", section_type<NoSuspend>()},          {"shield", section_type<Shield>()},
        {"RequestInterrupted", request_interrupted_type()}, {"RequestTimeout", request_timeout_type()},
        {"ClientDisconnected", client_disconnected_type()},
    };
    for (const auto& [name, type] : types) {
      py_check_status(PyObject_SetAttrString(module.get(), name, type));
    }
    py_check_status(PyModule_AddStringConstant(module.get(), "__version__", UWSGI_TORNADO_VERSION));
    py_check_status(PyModule_AddFunctions(module.get(), await_methods));
    py_check_status(PyModule_AddFunctions(module.get(), spawn_methods));
    py_check_status(PyModule_AddFunctions(module.get(), worker_view_methods));
    add_stopping(module.get());
    add_fetch_names(module.get());
    add_debug_names(module.get());
    return module;
  });
}

void register_module() noexcept { PyImport_AppendInittab("uwsgi_tornado", &create_module); }

}  // namespace python

// The entry point of the plain extension module. CPython's macro does not export it before 3.9.
#pragma GCC visibility push(default)
PyMODINIT_FUNC PyInit_uwsgi_tornado() { return python::create_module(); }
#pragma GCC visibility pop
