#include "plugin/asyncio/coroutine_object.h"

namespace python {
namespace {

PyObject* interned(const char* text) { return py_check(PyUnicode_InternFromString(text)).release(); }

void end(PyObject* self) noexcept {
  CoroutineObject& coroutine = CoroutineObject::of(self);
  if (coroutine.over) return;
  coroutine.over = true;
  const ErrorAside error;
  coroutine.end(self);
  Py_CLEAR(coroutine.future);
}

// What the future that was awaited says. Where somebody else resumes the coroutine before, it is no
// coroutine's future that is done, and asyncio's own says so.
PyRef result_of(PyObject* future) {
  static PyObject* const name = interned("result");
  return py_check(PyObject_CallMethodObjArgs(future, name, nullptr));
}

// The result where it has ended; else null, and the future is for the task that awaits it.
PyRef advance(PyObject* self) {
  static PyObject* const blocking = interned("_asyncio_future_blocking");
  CoroutineObject& coroutine = CoroutineObject::of(self);
  if (coroutine.over) raise(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
  coroutine.begun = true;
  struct EndsAtError {
    PyObject* const self;
    bool good = false;
    ~EndsAtError() {
      if (!good) end(self);
    }
  } ends{self};
  PyRef result = coroutine.future != nullptr ? result_of(coroutine.future) : coroutine.step(self);
  if (!result) py_check_status(PyObject_SetAttr(coroutine.future, blocking, Py_True));
  ends.good = !result;
  return result;
}

PyObject* next(PyObject* self) noexcept {
  return py_boundary([=]() -> PyRef {
    const PyRef result = advance(self);
    if (!result) return PyRef::borrow(CoroutineObject::of(self).future);
    const PyRef stop = py_check(PyObject_CallFunctionObjArgs(PyExc_StopIteration, result.get(), nullptr));
    PyErr_SetObject(PyExc_StopIteration, stop.get());
    throw PyError{};
  });
}

PyObject* send(PyObject* self, PyObject*) noexcept { return next(self); }

#if PY_VERSION_HEX >= 0x030A0000
PySendResult send_into(PyObject* self, PyObject*, PyObject** out) noexcept {
  PySendResult how = PYGEN_NEXT;
  *out = py_boundary([&] {
    PyRef result = advance(self);
    if (result) how = PYGEN_RETURN;
    return result ? std::move(result) : PyRef::borrow(CoroutineObject::of(self).future);
  });
  return *out == nullptr ? PYGEN_ERROR : how;
}
#endif

// throw(type[, value[, traceback]]): it ends with that.
PyObject* throw_into(PyObject* self, PyObject* args) noexcept {
  CoroutineObject::of(self).begun = true;
  end(self);
  PyObject *type, *value = nullptr, *traceback = nullptr;
  if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback)) return nullptr;
  if (PyExceptionInstance_Check(type)) PyErr_SetObject(PyExceptionInstance_Class(type), type);
  else PyErr_SetObject(type, value == Py_None ? nullptr : value);
  return nullptr;
}

PyObject* close(PyObject* self, PyObject*) noexcept {
  CoroutineObject::of(self).begun = true;
  end(self);
  return none().release();
}

PyMethodDef methods[] = {
    {"send", send, METH_O, nullptr},
    {"throw", throw_into, METH_VARARGS, nullptr},
    {"close", close, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyAsyncMethods async_methods = {
    PyObject_SelfIter,
    nullptr,
    nullptr,
#if PY_VERSION_HEX >= 0x030A0000
    send_into,
#endif
};

}  // namespace

void be_coroutine(PyTypeObject& type) {
  type.tp_iter = PyObject_SelfIter;
  type.tp_iternext = next;
  type.tp_as_async = &async_methods;
  type.tp_methods = methods;
}

void warn_never_awaited(PyObject* self, const char* name) noexcept {
  if (CoroutineObject::of(self).begun) return;
  const ErrorAside error;
  if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited", name) < 0)
    PyErr_WriteUnraisable(nullptr);
}

}  // namespace python
