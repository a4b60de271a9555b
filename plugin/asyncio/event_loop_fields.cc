#include "plugin/asyncio/event_loop_fields.h"

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/python/py_ref.h"

namespace python {
namespace {

int set_flag(PyObject* value, EventLoop& loop, void (EventLoop::*set)(bool) noexcept) noexcept {
  const int is = value == nullptr ? -1 : PyObject_IsTrue(value);
  if (value == nullptr) PyErr_SetString(PyExc_AttributeError, "it cannot be deleted");
  if (is < 0) return -1;
  (loop.*set)(is != 0);
  return 0;
}

PyObject* read_debug(PyObject* self, void*) noexcept { return PyBool_FromLong(loop_of(self).debug()); }
int write_debug(PyObject* self, PyObject* value, void*) noexcept {
  return set_flag(value, loop_of(self), &EventLoop::set_debug);
}
PyObject* read_closed(PyObject* self, void*) noexcept { return PyBool_FromLong(loop_of(self).is_closed()); }
int write_closed(PyObject* self, PyObject* value, void*) noexcept {
  return set_flag(value, loop_of(self), &EventLoop::set_closed);
}
PyObject* read_stopping(PyObject* self, void*) noexcept { return PyBool_FromLong(loop_of(self).stopping()); }
int write_stopping(PyObject* self, PyObject* value, void*) noexcept {
  return set_flag(value, loop_of(self), &EventLoop::set_stopping);
}
PyObject* read_thread_id(PyObject* self, void*) noexcept {
  if (!loop_of(self).is_running()) return none().release();
  return PyLong_FromUnsignedLong(loop_of(self).thread_ident());
}
PyObject* read_current_handle(PyObject* self, void*) noexcept {
  PyObject* const handle = loop_of(self).current_handle();
  return PyRef::borrow(handle == nullptr ? Py_None : handle).release();
}
// asyncio's __init__ clears these.
int ignore_write(PyObject*, PyObject*, void*) noexcept { return 0; }

// Signals are written to it (signal.set_wakeup_fd). Opened when asked for.
PyObject* read_csock(PyObject* self, void*) noexcept {
  return py_boundary([=] {
    if (loop_of(self).is_closed()) return none();
    return py_check(PyObject_CallFunction(imported("io", "FileIO").get(), "isO",
                                          loop_of(self).signals().descriptor(), "wb", Py_False));
  });
}

PyObject* read_ssock(PyObject*, void*) noexcept { return none().release(); }

// asyncio's transports ask the loop's selector for watched events, for their repr(). There is no selector, so
// the object in _selector has only this function.
PyObject* get_key(PyObject* self, PyObject* file) noexcept {
  return py_boundary([=] {
    PyRef key = loop_of(self).fds().key(file);
    if (key) return key;
    raise(PyExc_KeyError, "%R is not registered", file);
  });
}

PyMethodDef get_key_method = {"get_key", get_key, METH_O, nullptr};

PyObject* read_selector(PyObject* self, void*) noexcept {
  return py_boundary([=] {
    if (loop_of(self).is_closed()) return none();
    const PyRef function = py_check(PyCFunction_New(&get_key_method, self));
    return call_with_option(asyncio_names().simple_namespace, py_check(PyTuple_New(0)), "get_key",
                            function.get());
  });
}

}  // namespace

PyGetSetDef event_loop_fields[] = {
    {"_debug", read_debug, write_debug, nullptr, nullptr},
    {"_closed", read_closed, write_closed, nullptr, nullptr},
    {"_stopping", read_stopping, write_stopping, nullptr, nullptr},
    {"_thread_id", read_thread_id, ignore_write, nullptr, nullptr},
    {"_current_handle", read_current_handle, ignore_write, nullptr, nullptr},
    {"_csock", read_csock, nullptr, nullptr, nullptr},
    {"_ssock", read_ssock, nullptr, nullptr, nullptr},
    {"_selector", read_selector, ignore_write, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

}  // namespace python
