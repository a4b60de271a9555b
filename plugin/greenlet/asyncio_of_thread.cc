#include "plugin/greenlet/asyncio_of_thread.h"

namespace python {

#if PY_VERSION_HEX < 0x030D0000

AsyncioOfThread::AsyncioOfThread() noexcept {}
void AsyncioOfThread::give() noexcept {}

#else

namespace {

#if PY_VERSION_HEX >= 0x030E0000
// Returns the task before.
PyRef swap_current_task(PyObject* module, PyObject* loop, PyObject* task) noexcept {
  return PyRef::steal(PyObject_CallMethod(module, "_swap_current_task", "OO", loop, task));
}
#else
PyRef swap_current_task(PyObject*, PyObject*, PyObject*) noexcept { return PyRef(); }
#endif

void set_running_loop(PyObject* module, PyObject* loop) noexcept {
  PyRef::steal(PyObject_CallMethod(module, "_set_running_loop", "O", loop));
}

}  // namespace

AsyncioOfThread::AsyncioOfThread() noexcept {
  static PyObject* const name = PyUnicode_InternFromString("_asyncio");
  PyObject* const module = PyDict_GetItemWithError(PyImport_GetModuleDict(), name);
  if (module == nullptr) return;
  loop_ = PyRef::steal(PyObject_CallMethod(module, "_get_running_loop", nullptr));
  if (loop_ && loop_.get() != Py_None) {
    module_ = PyRef::borrow(module);
    task_ = swap_current_task(module, loop_.get(), Py_None);
    set_running_loop(module, Py_None);
  }
  PyErr_Clear();
}

void AsyncioOfThread::give() noexcept {
  if (!module_) return;
  set_running_loop(module_.get(), loop_.get());
  if (task_ && task_.get() != Py_None) swap_current_task(module_.get(), loop_.get(), task_.get());
  PyErr_Clear();
}

#endif

}  // namespace python
