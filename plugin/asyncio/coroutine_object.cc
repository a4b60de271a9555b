#include "plugin/asyncio/coroutine_object.h"

#include <cstddef>

#include "plugin/asyncio/transport_names.h"

namespace python {
namespace {

void end(PyObject* self) noexcept {
  CoroutineObject& coroutine = CoroutineObject::of(self);
  if (coroutine.over) return;
  coroutine.over = true;
  if (coroutine.end == nullptr && coroutine.future == nullptr) return;
  const ErrorAside error;
  if (coroutine.end != nullptr) coroutine.end(self);
  Py_CLEAR(coroutine.future);
}

[[noreturn]] void raise_over() { raise(PyExc_RuntimeError, "cannot reuse already awaited coroutine"); }

// The future for the task that awaits it.
PyRef yield(PyObject* future, bool again) {
  static PyObject* const blocking = TransportNames::interned("_asyncio_future_blocking");
  if (again && is_true(attribute(future, blocking)))
    raise(PyExc_RuntimeError, "await wasn't used with future");
  py_check_status(PyObject_SetAttr(future, blocking, Py_True));
  return PyRef::borrow(future);
}

// What the future that is awaited says; null where somebody resumes the coroutine before it is done.
PyRef result_of(PyObject* future) {
  static PyObject* const name = TransportNames::interned("result");
  PyRef result = PyRef::steal(PyObject_CallMethodObjArgs(future, name, nullptr));
  if (result) return result;
  ErrorState error;
  error.fetch();
  if (!is_done(future)) return {};
  error.restore();
  throw PyError{};
}

// The result where it has ended; else null, and `yielded` is for the task that awaits it.
PyRef advance(PyObject* self, PyRef& yielded) {
  CoroutineObject& coroutine = CoroutineObject::of(self);
  if (coroutine.over) raise_over();
  coroutine.begun = true;
  struct EndsUnlessItWaits {
    PyObject* const self;
    bool waits = false;
    ~EndsUnlessItWaits() {
      if (!waits) end(self);
    }
  } ends{self};
  PyRef awaited = PyRef::borrow(coroutine.future);
  PyRef result = awaited ? result_of(awaited.get()) : coroutine.step(self);
  if (awaited && result && coroutine.after_future == CoroutineObject::AfterFuture::kGoesOn) {
    awaited = {};
    Py_CLEAR(coroutine.future);
    result = coroutine.step(self);
  }
  if (!result) yielded = yield(coroutine.future, static_cast<bool>(awaited));
  ends.waits = !result;
  return result;
}

void check_sent(PyObject* self, PyObject* value) {
  const CoroutineObject& coroutine = CoroutineObject::of(self);
  if (coroutine.begun || coroutine.over || value == nullptr || value == Py_None) return;
  raise(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
}

// The end as tp_iternext tells it.
[[noreturn]] void raise_stop(const PyRef& result) {
  const PyRef stop = py_check(PyObject_CallFunctionObjArgs(PyExc_StopIteration, result.get(), nullptr));
  PyErr_SetObject(PyExc_StopIteration, stop.get());
  throw PyError{};
}

PyObject* send(PyObject* self, PyObject* value) noexcept {
  return py_boundary([=]() -> PyRef {
    check_sent(self, value);
    PyRef yielded;
    const PyRef result = advance(self, yielded);
    if (!result) return yielded;
    raise_stop(result);
  });
}

PyObject* next(PyObject* self) noexcept { return send(self, Py_None); }

#if PY_VERSION_HEX >= 0x030A0000
PySendResult send_into(PyObject* self, PyObject* value, PyObject** out) noexcept {
  PySendResult how = PYGEN_NEXT;
  *out = py_boundary([&] {
    check_sent(self, value);
    PyRef yielded, result = advance(self, yielded);
    if (result) how = PYGEN_RETURN;
    return result ? std::move(result) : std::move(yielded);
  });
  return *out == nullptr ? PYGEN_ERROR : how;
}
#endif

PyObject* await(PyObject* self) noexcept {
  return py_boundary([=] {
    if (CoroutineObject::of(self).future != nullptr)
      raise(PyExc_RuntimeError, "coroutine is being awaited already");
    return PyRef::borrow(self);
  });
}

// What throw(type, value, traceback) raises; the traceback may be null.
void set_thrown(PyObject* type, PyObject* value, PyObject* traceback) {
  if (value == Py_None) value = nullptr;
  if (traceback != nullptr && !PyTraceBack_Check(traceback))
    raise(PyExc_TypeError, "throw() third argument must be a traceback object");
  if (PyExceptionInstance_Check(type)) {
    if (value != nullptr) raise(PyExc_TypeError, "instance exception may not have a separate value");
    value = type;
    type = PyExceptionInstance_Class(type);
  } else if (!PyExceptionClass_Check(type)) {
    raise(PyExc_TypeError, "exceptions must be classes or instances deriving from BaseException, not %s",
          Py_TYPE(type)->tp_name);
  }
  PyRef raised = PyRef::borrow(value);
  PyRef shown = traceback != nullptr ? PyRef::borrow(traceback)
                : value != nullptr && PyExceptionInstance_Check(value)
                    ? PyRef::steal(PyException_GetTraceback(value))
                    : PyRef();
  PyErr_Restore(PyRef::borrow(type).release(), raised.release(), shown.release());
}

// throw(type[, value[, traceback]]): it ends with that.
PyObject* throw_into(PyObject* self, PyObject* args) noexcept {
  return py_boundary([=]() -> PyRef {
    PyObject *type, *value = nullptr, *traceback = nullptr;
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback)) throw PyError{};
    if (CoroutineObject::of(self).over) raise_over();
    set_thrown(type, value, traceback == Py_None ? nullptr : traceback);
    CoroutineObject::of(self).begun = true;
    end(self);
    throw PyError{};
  });
}

PyObject* close(PyObject* self, PyObject*) noexcept {
  CoroutineObject::of(self).begun = true;
  end(self);
  return none().release();
}

PyObject* read_name(PyObject* self, void*) noexcept {
  return PyUnicode_FromString(CoroutineObject::of(self).name);
}

PyObject* represent(PyObject* self) noexcept {
  return PyUnicode_FromFormat("<coroutine object %s at %p>", CoroutineObject::of(self).name, self);
}

PyGetSetDef fields[] = {
    {"__name__", read_name, nullptr, nullptr, nullptr},
    {"__qualname__", read_name, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef methods[] = {
    {"send", send, METH_O, nullptr},
    {"throw", throw_into, METH_VARARGS, nullptr},
    {"close", close, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyAsyncMethods async_methods = {
    await,
    nullptr,
    nullptr,
#if PY_VERSION_HEX >= 0x030A0000
    send_into,
#endif
};

}  // namespace

void CoroutineObject::begin(const char* function, Step steps, End ends, AfterFuture after) noexcept {
  future = weak_references = nullptr;
  name = function;
  step = steps;
  end = ends;
  after_future = after;
  begun = over = false;
}

void be_coroutine(PyTypeObject& type) {
  type.tp_iter = PyObject_SelfIter;
  type.tp_iternext = next;
  type.tp_as_async = &async_methods;
  type.tp_methods = methods;
  type.tp_getset = fields;
  type.tp_repr = represent;
  type.tp_weaklistoffset = offsetof(CoroutineObject, weak_references);
}

void coroutine_dies(PyObject* self) noexcept {
  const CoroutineObject& coroutine = CoroutineObject::of(self);
  if (coroutine.weak_references != nullptr) PyObject_ClearWeakRefs(self);
  if (coroutine.begun) return;
  const ErrorAside error;
  if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited", coroutine.name) < 0)
    PyErr_WriteUnraisable(nullptr);
}

}  // namespace python
