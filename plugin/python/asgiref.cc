#include "plugin/python/asgiref.h"

#include <unistd.h>

#include "plugin/python/py_ref.h"
#include "plugin/python/worker_loop.h"

namespace python {
namespace {

PyObject* imported_asgiref() noexcept {
  static PyObject* const name = PyUnicode_InternFromString("asgiref.sync");
  return PyDict_GetItem(PyImport_GetModuleDict(), name);  // Borrowed.
}

// Where asgiref's AsyncToSync looks for a loop when none runs in its thread: the loop of the thread
// that sync_to_async() came from, of this process.
void set_main_event_loop(PyObject* asgiref, PyObject* event_loop) {
  const PyRef type = py_check(PyObject_GetAttrString(asgiref, "SyncToAsync"));
  const PyRef local = py_check(PyObject_GetAttrString(type.get(), "threadlocal"));
  py_check_status(PyObject_SetAttrString(local.get(), "main_event_loop", event_loop));
  const PyRef pid = py_check(PyLong_FromLong(getpid()));
  py_check_status(PyObject_SetAttrString(local.get(), "main_event_loop_pid", pid.get()));
}

}  // namespace

bool share_loop_with_asgiref() noexcept {
  const WorkerLoop* const worker = WorkerLoop::instance();
  PyObject* const asgiref = imported_asgiref();
  if (worker == nullptr || !worker->running() || asgiref == nullptr) return false;
  try {
    set_main_event_loop(asgiref, worker->event_loop());
  } catch (const PyError&) {
    PyErr_Clear();  // Half imported yet, or another version: it runs a loop of its own.
    return false;
  }
  return true;
}

}  // namespace python
