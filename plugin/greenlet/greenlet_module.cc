#include "plugin/greenlet/greenlet_module.h"

#include <pthread.h>

#include <ctime>

#include "plugin/greenlet/greenlet.h"

namespace python {
namespace {

// The version of the greenlet package whose behaviour this has.
constexpr char kVersion[] = "2.0.2";

PyObject* error_class = nullptr;
PyObject* exit_class = nullptr;

PyObject* getcurrent(PyObject*, PyObject*) noexcept {
  return py_boundary([] { return PyRef::borrow(as_object(GreenletThread::current().running())); });
}

PyRef trace_function(const GreenletThread& thread) noexcept {
  PyObject* const function = thread.trace_function();
  return PyRef::borrow(function != nullptr ? function : Py_None);
}

PyObject* gettrace(PyObject*, PyObject*) noexcept {
  return py_boundary([] { return trace_function(GreenletThread::current()); });
}

PyObject* settrace(PyObject*, PyObject* args) noexcept {
  return py_boundary([=] {
    PyObject* function = nullptr;
    if (!PyArg_ParseTuple(args, "O", &function)) throw PyError{};
    GreenletThread& thread = GreenletThread::current();
    PyRef before = trace_function(thread);
    thread.set_trace_function(PyRef::borrow(function));
    return before;
  });
}

// --- For the package's tests and what looks at its clean-up -----------------------------------

PyObject* set_thread_local(PyObject*, PyObject* args) noexcept {
  return py_boundary([=] {
    PyObject* key = nullptr;
    PyObject* value = nullptr;
    if (!PyArg_UnpackTuple(args, "set_thread_local", 2, 2, &key, &value)) throw PyError{};
    py_check_status(PyDict_SetItem(PyThreadState_GetDict(), key, value));
    return none();
  });
}

PyObject* zero(PyObject*, PyObject*) noexcept { return PyLong_FromLong(0); }

PyObject* get_total_main_greenlets(PyObject*, PyObject*) noexcept {
  return PyLong_FromLong(GreenletThread::count());
}

bool optional_cleanup = true;

// There is no such clean-up here, so it takes no time.
PyObject* get_clocks_used(PyObject*, PyObject*) noexcept {
  return optional_cleanup ? PyLong_FromLong(0) : none().release();
}

PyObject* enable_optional_cleanup(PyObject*, PyObject* flag) noexcept {
  const int enabled = PyObject_IsTrue(flag);
  if (enabled < 0) return nullptr;
  optional_cleanup = enabled != 0;
  return none().release();
}

PyMethodDef functions[] = {
    {"getcurrent", getcurrent, METH_NOARGS,
     "getcurrent()\n--\n\nReturns the running greenlet. In a request that made none, its main greenlet."},
    {"settrace", settrace, METH_VARARGS,
     "settrace(callback)\n--\n\nSets a callback(event, (origin, target)) for each switch of this thread's\n"
     "greenlets; the event is 'switch' or 'throw'. Returns the previous callback."},
    {"gettrace", gettrace, METH_NOARGS, "gettrace()\n--\n\nReturns the callback of settrace(), or None."},
    {"set_thread_local", set_thread_local, METH_VARARGS, nullptr},
    {"get_pending_cleanup_count", zero, METH_NOARGS, nullptr},
    {"get_total_main_greenlets", get_total_main_greenlets, METH_NOARGS, nullptr},
    {"get_clocks_used_doing_optional_cleanup", get_clocks_used, METH_NOARGS, nullptr},
    {"enable_optional_cleanup", enable_optional_cleanup, METH_O, nullptr},
    {"get_tstate_trash_delete_nesting", zero, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "greenlet",
    "Greenlets on the fibers of uWSGI's tornado engine. See docs/greenlet.md.",
    -1,
    functions,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};

void add(PyObject* module, const char* name, PyObject* value) {
  py_check_status(PyObject_SetAttrString(module, name, value));
}

void add_classes(PyObject* module) {
  if (error_class == nullptr) {  // For the worker's life, as all that is static.
    error_class = PyErr_NewException("greenlet.error", nullptr, nullptr);
    exit_class = PyErr_NewException("greenlet.GreenletExit", PyExc_BaseException, nullptr);
    if (error_class == nullptr || exit_class == nullptr) throw PyError{};
  }
  add(module, "error", error_class);
  add(module, "GreenletExit", exit_class);
  add(module, "greenlet", reinterpret_cast<PyObject*>(greenlet_type()));
}

// The package has them as attributes of the class, too.
void add_to_type(PyObject* module) {
  for (const char* name : {"getcurrent", "error", "GreenletExit", "settrace", "gettrace"}) {
    const PyRef value = py_check(PyObject_GetAttrString(module, name));
    py_check_status(PyDict_SetItemString(greenlet_type()->tp_dict, name, value.get()));
  }
  PyType_Modified(greenlet_type());
}

void add_constants(PyObject* module) {
  py_check_status(PyModule_AddStringConstant(module, "__version__", kVersion));
  for (const char* name : {"GREENLET_USE_GC", "GREENLET_USE_TRACING", "GREENLET_USE_CONTEXT_VARS",
                           "GREENLET_USE_STANDARD_THREADING"}) {
    const PyRef yes = py_check(PyBool_FromLong(1));
    add(module, name, yes.get());
  }
  py_check_status(PyModule_AddIntConstant(module, "CLOCKS_PER_SEC", CLOCKS_PER_SEC));
}

// `import greenlet._greenlet` finds what is in sys.modules; it is this module again.
void add_inner_module(PyObject* module) {
  add(module, "_greenlet", module);
  py_check_status(PyDict_SetItemString(PyImport_GetModuleDict(), "greenlet._greenlet", module));
}

PyObject* create() noexcept {
  return py_boundary([] {
    PyRef module = py_check(PyModule_Create(&definition));
    add_classes(module.get());
    add_to_type(module.get());
    add_constants(module.get());
    add_inner_module(module.get());
    return module;
  });
}

}  // namespace

PyObject* greenlet_error() noexcept { return error_class; }
PyObject* greenlet_exit() noexcept { return exit_class; }

void register_greenlet_module(std::size_t stack_size) noexcept {
  GreenletStack::set_size(stack_size);
  PyImport_AppendInittab("greenlet", &create);
  pthread_atfork(nullptr, nullptr, &GreenletStack::forget_in_child);
}

}  // namespace python
