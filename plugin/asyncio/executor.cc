#include "plugin/asyncio/executor.h"

#include <memory>

#include "plugin/asyncio/spawn.h"
#include "plugin/asyncio/worker_loop.h"
#include "plugin/blocking/gate.h"
#include "plugin/python/py_ref.h"
#include "plugin/python/python_source.h"

UWSGI_TORNADO_PYTHON_SOURCE(executor_source, "plugin/asyncio/executor.py");

namespace python {
namespace {

PyObject* executor_type = nullptr;
PyObject* end_idle_function = nullptr;

void run_thread(void* argument) noexcept {
  const PyRef function = PyRef::steal(static_cast<PyObject*>(argument));
  if (!PyRef::steal(PyObject_CallObject(function.get(), nullptr))) PyErr_WriteUnraisable(function.get());
}

// start(function): on a virtual thread of its own, from any thread.
PyObject* start(PyObject* self, PyObject* function) noexcept;
PyMethodDef start_method = {"start", start, METH_O, nullptr};

PyObject* start(PyObject*, PyObject* function) noexcept {
  return py_boundary([=] {
    if (spawner() == nullptr) raise(PyExc_RuntimeError, "the worker has no virtual threads yet");
    if (!blocking::on_loop_thread()) {
      const PyRef again = py_check(PyCFunction_New(&start_method, nullptr));
      return py_check(PyObject_CallMethod(WorkerLoop::instance()->event_loop(), "call_soon_threadsafe", "OO",
                                          again.get(), function));
    }
    PyRef kept = PyRef::borrow(function);
    spawner()->spawn(run_thread, kept.get());
    static_cast<void>(kept.release());
    return none();
  });
}

PyObject* set_idle(PyObject*, PyObject* idle) noexcept {
  if (spawner() != nullptr && blocking::on_loop_thread()) spawner()->set_idle(idle == Py_True);
  Py_RETURN_NONE;
}

PyObject* on_loop(PyObject*, PyObject*) noexcept {
  return PyBool_FromLong(blocking::on_loop_thread() && suspend::Fiber::current() == nullptr);
}

PyObject* event_loop(PyObject*, PyObject*) noexcept {
  const WorkerLoop* const worker = WorkerLoop::instance();
  return PyRef::borrow(worker != nullptr && worker->running() ? worker->event_loop() : Py_None).release();
}

PyMethodDef set_idle_method = {"set_idle", set_idle, METH_O, nullptr};
PyMethodDef on_loop_method = {"on_loop", on_loop, METH_NOARGS, nullptr};
PyMethodDef event_loop_method = {"event_loop", event_loop, METH_NOARGS, nullptr};

}  // namespace

void use_virtual_executors() {
  const PyRef make = from_python_source(executor_source, "uwsgi_tornado.executor", "make");
  const PyRef made = py_check(
      PyObject_CallFunctionObjArgs(make.get(), py_check(PyCFunction_New(&start_method, nullptr)).get(),
                                   py_check(PyCFunction_New(&set_idle_method, nullptr)).get(),
                                   py_check(PyCFunction_New(&on_loop_method, nullptr)).get(),
                                   py_check(PyCFunction_New(&event_loop_method, nullptr)).get(), nullptr));
  executor_type = PyRef::borrow(PyTuple_GET_ITEM(made.get(), 0)).release();  // For the process's life.
  end_idle_function = PyRef::borrow(PyTuple_GET_ITEM(made.get(), 1)).release();
  when_imported("asgiref.sync", PyRef::borrow(PyTuple_GET_ITEM(made.get(), 2)));
  when_imported("anyio._backends._asyncio", PyRef::borrow(PyTuple_GET_ITEM(made.get(), 3)));
}

void install_default_executor() {
  if (executor_type == nullptr) return;
  const PyRef executor = py_check(PyObject_CallObject(executor_type, nullptr));
  py_check_status(
      PyObject_SetAttrString(WorkerLoop::instance()->event_loop(), "_default_executor", executor.get()));
}

void end_idle_executor_threads() noexcept {
  if (end_idle_function == nullptr) return;
  if (!PyRef::steal(PyObject_CallObject(end_idle_function, nullptr)))
    PyErr_WriteUnraisable(end_idle_function);
}

}  // namespace python
