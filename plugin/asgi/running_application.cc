#include "plugin/asgi/running_application.h"

#include <utility>

#include "plugin/asgi/connection.h"
#include "plugin/asyncio/asyncio_names.h"
#include "plugin/python/application.h"
#include "plugin/python/static_type.h"

namespace asgi {
namespace {

using python::none;
using python::py_boundary;
using python::py_check;
using python::PyError;
using python::PyRef;

struct Running {
  PyObject_HEAD PyObject* connection;
  PyObject* coroutine;  // Null once it has ended.
};

Running& self_of(PyObject* object) noexcept { return *reinterpret_cast<Running*>(object); }

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  Py_VISIT(self_of(self).connection);
  Py_VISIT(self_of(self).coroutine);
  return 0;
}

int clear(PyObject* self) noexcept {
  Py_CLEAR(self_of(self).connection);
  Py_CLEAR(self_of(self).coroutine);
  return 0;
}

void dealloc(PyObject* self) noexcept {
  PyObject_GC_UnTrack(self);
  clear(self);
  Py_TYPE(self)->tp_free(self);
}

// While one lives, code on the loop is the request's.
class Step {
 public:
  explicit Step(engine::RequestThread* thread) noexcept {
    if (thread != nullptr) engine::RequestThread::application_steps(thread);
  }
  ~Step() { engine::RequestThread::application_steps(nullptr); }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
};

// The pending exception came out of the coroutine. The connection has it, and the task ends as if it had
// returned; but a cancelled task must end as cancelled.
PyRef ended_by_error(Running& running) {
  python::contain_system_exit();
  const bool cancelled = PyErr_ExceptionMatches(python::asyncio_names().cancelled_error) != 0;
  PyRef exception = python::take_exception();
  Py_CLEAR(running.coroutine);
  Connection::of(running.connection).application_ended(exception);
  if (!cancelled) return none();
  PyErr_SetObject(python::asyncio_names().cancelled_error, exception.get());
  throw PyError{};
}

PyRef ended_well(Running& running) {
  Py_CLEAR(running.coroutine);
  Connection::of(running.connection).application_ended({});
  return none();
}

// One step, by a call of the coroutine's `method`. Returns true when it has ended; `result` is then the
// coroutine's, otherwise what it yielded.
bool step_by_call(PyObject* self, const char* method, PyObject* args, PyRef& result) {
  Running& running = self_of(self);
  const PyRef keep = PyRef::borrow(self);
  if (running.coroutine == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    throw PyError{};
  }
  const PyRef coroutine = PyRef::borrow(running.coroutine);
  const PyRef bound = py_check(PyObject_GetAttrString(coroutine.get(), method));
  {
    const Step step(Connection::of(running.connection).thread());
    result = PyRef::steal(PyObject_CallObject(bound.get(), args));
  }
  if (result) return false;
  if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
    PyErr_Clear();
    result = ended_well(running);
  } else {
    result = ended_by_error(running);
  }
  return true;
}

PyObject* step(PyObject* self, const char* method, PyObject* args) noexcept {
  return py_boundary([=]() -> PyRef {
    PyRef result;
    if (!step_by_call(self, method, args, result)) return result;
    PyErr_SetNone(PyExc_StopIteration);
    throw PyError{};
  });
}

PyObject* send_method(PyObject* self, PyObject* args) noexcept { return step(self, "send", args); }
PyObject* throw_method(PyObject* self, PyObject* args) noexcept { return step(self, "throw", args); }

PyObject* close_method(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    const PyRef coroutine = PyRef::steal(std::exchange(self_of(self).coroutine, nullptr));
    return coroutine ? py_check(PyObject_CallMethod(coroutine.get(), "close", nullptr)) : none();
  });
}

#if PY_VERSION_HEX >= 0x030A0000
PySendResult send_into(PyObject* self, PyObject* value, PyObject** out) noexcept {
  PySendResult how = PYGEN_ERROR;
  *out = py_boundary([&]() -> PyRef {
    Running& running = self_of(self);
    const PyRef keep = PyRef::borrow(self);
    if (running.coroutine == nullptr)
      python::raise(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    const PyRef coroutine = PyRef::borrow(running.coroutine);
    PyObject* given = nullptr;
    {
      const Step step(Connection::of(running.connection).thread());
      how = PyIter_Send(coroutine.get(), value, &given);
    }
    const PyRef result = PyRef::steal(given);
    if (how == PYGEN_NEXT) return result;
    PyRef end = how == PYGEN_RETURN ? ended_well(running) : ended_by_error(running);
    how = PYGEN_RETURN;
    return end;
  });
  return *out == nullptr ? PYGEN_ERROR : how;
}
#endif

PyObject* next(PyObject* self) noexcept {
  const PyRef args = PyRef::steal(PyTuple_Pack(1, Py_None));
  return args ? step(self, "send", args.get()) : nullptr;
}

// The rest is the application's: asyncio and debuggers ask for frames and names.
PyObject* getattro(PyObject* self, PyObject* name) noexcept {
  PyObject* const own = PyObject_GenericGetAttr(self, name);
  PyObject* const coroutine = self_of(self).coroutine;
  if (own != nullptr || coroutine == nullptr || !PyErr_ExceptionMatches(PyExc_AttributeError)) return own;
  PyErr_Clear();
  return PyObject_GetAttr(coroutine, name);
}

PyMethodDef methods[] = {
    {"send", send_method, METH_VARARGS, nullptr},
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

PyTypeObject* running_type() {
  return python::static_type<Running>("uwsgi_tornado._RunningApplication", [](PyTypeObject& t) {
    t.tp_doc = "The coroutine of an ASGI application. Its steps count as its request's.";
    t.tp_getattro = getattro;
    t.tp_iter = PyObject_SelfIter;
    t.tp_iternext = next;
    t.tp_as_async = &async_methods;
    t.tp_methods = methods;
    t.tp_traverse = traverse;
    t.tp_clear = clear;
    t.tp_dealloc = dealloc;
  });
}

// Something to send into: the coroutine, or that of an object with only __await__.
PyRef as_coroutine(PyRef awaitable) {
  if (PyCoro_CheckExact(awaitable.get()) || PyObject_HasAttrString(awaitable.get(), "send")) return awaitable;
  if (!PyObject_HasAttrString(awaitable.get(), "__await__")) {
    PyErr_Format(PyExc_TypeError, "an ASGI application returns an awaitable, not %.100s",
                 Py_TYPE(awaitable.get())->tp_name);
    throw PyError{};
  }
  return py_check(PyObject_CallMethod(awaitable.get(), "__await__", nullptr));
}

}  // namespace

PyRef run_application(Connection& connection, PyObject* self, PyObject* application, PyObject* scope,
                      PyObject* receive, PyObject* send) {
  PyRef running = py_check(PyType_GenericAlloc(running_type(), 0));
  self_of(running.get()).connection = PyRef::borrow(self).release();
  PyRef awaitable;
  {
    const Step step(connection.thread());
    awaitable = PyRef::steal(PyObject_CallFunctionObjArgs(application, scope, receive, send, nullptr));
  }
  if (!awaitable) {
    python::contain_system_exit();
    connection.application_ended(python::take_exception());
    return {};
  }
  self_of(running.get()).coroutine = as_coroutine(std::move(awaitable)).release();
  return running;
}

PyRef coroutine_of(PyObject* running) { return PyRef::borrow(self_of(running).coroutine); }

}  // namespace asgi
