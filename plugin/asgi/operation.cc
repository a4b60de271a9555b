#include "plugin/asgi/operation.h"

#include "plugin/asgi/connection.h"
#include "plugin/asgi/message.h"
#include "plugin/asyncio/coroutine_object.h"
#include "plugin/python/static_type.h"

namespace asgi {
namespace {

using python::none;
using python::py_boundary;
using python::py_check;
using python::PyError;
using python::PyRef;
using python::raise;

struct Operation {
  PyObject_HEAD PyObject* connection;
  PyObject* message;  // To send; null: this one receives.
  PyObject* future;   // The iterator of the future that is awaited.
  bool begun;
  bool ended;
};

Operation& self_of(PyObject* object) noexcept { return *reinterpret_cast<Operation*>(object); }

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  Py_VISIT(self_of(self).connection);
  Py_VISIT(self_of(self).message);
  Py_VISIT(self_of(self).future);
  return 0;
}

int clear(PyObject* self) noexcept {
  Py_CLEAR(self_of(self).connection);
  Py_CLEAR(self_of(self).message);
  Py_CLEAR(self_of(self).future);
  return 0;
}

void dealloc(PyObject* self) noexcept {
  PyObject_GC_UnTrack(self);
  clear(self);
  Py_TYPE(self)->tp_free(self);
}

// The result; null: what to wait for is in `waits_for`.
PyRef step(Operation& operation, PyRef& waits_for) {
  Connection& connection = Connection::of(operation.connection);
  connection.check_thread();
  if (operation.message == nullptr) {
    PyRef message = connection.receive();
    if (!message) waits_for = connection.message_future();
    return message;
  }
  if (!operation.begun) {
    operation.begun = true;
    connection.send(operation.message);
  }
  if (connection.has_room()) return none();
  waits_for = connection.room_future();
  return {};
}

// True when it has ended, with `result`; else `yielded` is what goes to the task.
bool advance(PyObject* self, PyRef& result, PyRef& yielded) {
  Operation& operation = self_of(self);
  if (operation.ended) raise(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
  for (;;) {
    if (operation.future != nullptr) {
      yielded = PyRef::steal(Py_TYPE(operation.future)->tp_iternext(operation.future));
      if (yielded) return false;
      Py_CLEAR(operation.future);
      if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_StopIteration)) {
        operation.ended = true;
        throw PyError{};
      }
      PyErr_Clear();
    }
    PyRef waits_for;
    try {
      result = step(operation, waits_for);
    } catch (const PyError&) {
      operation.ended = true;
      throw;
    }
    if (result) {
      operation.ended = true;
      return true;
    }
    operation.future = python::call_method(waits_for.get(), ASGI_NAME("__await__")).release();
  }
}

PyObject* next(PyObject* self) noexcept {
  return py_boundary([=]() -> PyRef {
    PyRef result, yielded;
    if (!advance(self, result, yielded)) return yielded;
    python::raise_stop(result);
  });
}

#if PY_VERSION_HEX >= 0x030A0000
PySendResult send_into(PyObject* self, PyObject*, PyObject** out) noexcept {
  PySendResult how = PYGEN_ERROR;
  *out = py_boundary([&]() -> PyRef {
    PyRef result, yielded;
    how = advance(self, result, yielded) ? PYGEN_RETURN : PYGEN_NEXT;
    return how == PYGEN_RETURN ? result : yielded;
  });
  return *out == nullptr ? PYGEN_ERROR : how;
}
#endif

PyObject* send_method(PyObject* self, PyObject*) noexcept { return next(self); }

// throw(type[, value[, traceback]]): to the future where one is awaited.
PyObject* throw_method(PyObject* self, PyObject* args) noexcept {
  return py_boundary([=]() -> PyRef {
    Operation& operation = self_of(self);
    if (operation.future != nullptr) {
      const PyRef future = PyRef::borrow(operation.future);
      const PyRef method = py_check(PyObject_GetAttrString(future.get(), "throw"));
      PyRef yielded = PyRef::steal(PyObject_CallObject(method.get(), args));
      if (yielded) return yielded;
      Py_CLEAR(operation.future);
      operation.ended = true;
      throw PyError{};
    }
    operation.ended = true;
    PyObject* const type = PyTuple_GET_SIZE(args) > 0 ? PyTuple_GET_ITEM(args, 0) : PyExc_TypeError;
    PyObject* const value = PyTuple_GET_SIZE(args) > 1 ? PyTuple_GET_ITEM(args, 1) : nullptr;
    if (PyExceptionInstance_Check(type)) PyErr_SetObject(PyExceptionInstance_Class(type), type);
    else PyErr_SetObject(type, value == Py_None ? nullptr : value);
    throw PyError{};
  });
}

PyObject* close_method(PyObject* self, PyObject*) noexcept {
  Py_CLEAR(self_of(self).future);
  self_of(self).ended = true;
  return none().release();
}

PyMethodDef methods[] = {
    {"send", send_method, METH_O, nullptr},
    {"throw", throw_method, METH_VARARGS, nullptr},
    {"close", close_method, METH_NOARGS, nullptr},
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

PyTypeObject* operation_type() {
  return python::static_type<Operation>("uwsgi_tornado._Operation", [](PyTypeObject& t) {
    t.tp_doc = "The awaitable that receive() or send() of an ASGI application returns.";
    t.tp_iter = PyObject_SelfIter;
    t.tp_iternext = next;
    t.tp_as_async = &async_methods;
    t.tp_methods = methods;
    t.tp_traverse = traverse;
    t.tp_clear = clear;
    t.tp_dealloc = dealloc;
  });
}

PyRef make(PyObject* connection, PyObject* message) {
  PyRef made = py_check(PyType_GenericAlloc(operation_type(), 0));
  self_of(made.get()).connection = PyRef::borrow(connection).release();
  self_of(made.get()).message = PyRef::borrow(message).release();
  return made;
}

}  // namespace

PyRef receive_operation(PyObject* connection) { return make(connection, nullptr); }
PyRef send_operation(PyObject* connection, PyObject* message) { return make(connection, message); }

}  // namespace asgi
