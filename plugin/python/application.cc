#include "plugin/python/application.h"

#include <utility>

#include "plugin/python/static_type.h"

namespace python {
namespace {

// An object round another, which it owns.
struct Wrapper {
  PyObject_HEAD PyObject* wrapped;
};

PyObject*& wrapped_in(PyObject* self) noexcept { return reinterpret_cast<Wrapper*>(self)->wrapped; }

int wrapper_traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  Py_VISIT(wrapped_in(self));
  return 0;
}

int wrapper_clear(PyObject* self) noexcept {
  Py_CLEAR(wrapped_in(self));
  return 0;
}

void wrapper_dealloc(PyObject* self) noexcept {
  PyObject_GC_UnTrack(self);
  wrapper_clear(self);
  Py_TYPE(self)->tp_free(self);
}

// Round a callable.
struct Application {
  Wrapper wrapper;
  PyRef (*returned)(PyRef result) noexcept;
  void (*called)(PyObject* environ) noexcept;
};

// Round the iterator of what a raw application answered, if uWSGI is to iterate it.
using Chunks = Wrapper;

PyObject* multithread_key() noexcept {
  static PyObject* const key = PyUnicode_InternFromString("wsgi.multithread");
  return key;
}

PyTypeObject* chunks_type();

// What uWSGI sends as it is, bytes and files, stays so. Null with an error set when it cannot
// be iterated.
PyRef contain_iteration(PyRef answer) noexcept {
  PyObject* const bare = answer.get();
  if (PyBytes_Check(bare) || PyLong_Check(bare) || PyObject_HasAttrString(bare, "fileno")) return answer;
  PyRef iterator = PyRef::steal(PyObject_GetIter(bare));
  if (!iterator && PyErr_ExceptionMatches(PyExc_TypeError)) {
    PyErr_Clear();
    return answer;  // None, say: uWSGI knows what to do.
  }
  PyRef chunks = PyRef::steal(iterator ? PyType_GenericAlloc(chunks_type(), 0) : nullptr);
  if (chunks) wrapped_in(chunks.get()) = iterator.release();
  else contain_system_exit();
  return chunks;
}

PyObject* chunks_next(PyObject* self) noexcept {
  PyObject* const chunk = PyIter_Next(wrapped_in(self));
  if (chunk == nullptr) contain_system_exit();
  return chunk;
}

// True if the application says that it has used the connection itself, so nothing must be sent.
bool ended_by_itself(PyObject* args) noexcept {
  if (!PyErr_ExceptionMatches(PyExc_StopIteration) || PyTuple_GET_SIZE(args) == 0) return false;
  PyObject* const environ = PyTuple_GET_ITEM(args, 0);
  return PyDict_Check(environ) && PyDict_GetItemString(environ, kConnectionKey) != nullptr;
}

PyObject* application_call(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  auto* const application = reinterpret_cast<Application*>(self);
  if (PyTuple_GET_SIZE(args) > 0 && PyDict_Check(PyTuple_GET_ITEM(args, 0))) {
    PyObject* const environ = PyTuple_GET_ITEM(args, 0);
    if (PyDict_SetItem(environ, multithread_key(), Py_True) < 0) return nullptr;
    if (application->called != nullptr) application->called(environ);
  }
  auto result = PyRef::steal(PyObject_Call(application->wrapper.wrapped, args, kwargs));
  if (!result && ended_by_itself(args)) {
    PyErr_Clear();
    result = PyRef::steal(PyTuple_New(0));
  }
  if (!result) contain_system_exit();
  else if (application->returned != nullptr) result = application->returned(std::move(result));
  return result.release();
}

PyTypeObject* application_type() {
  return static_type<Application>("uwsgi_tornado._Application", [](PyTypeObject& t) {
    t.tp_call = application_call;
    t.tp_traverse = wrapper_traverse;
    t.tp_clear = wrapper_clear;
    t.tp_dealloc = wrapper_dealloc;
  });
}

PyTypeObject* chunks_type() {
  return static_type<Chunks>("uwsgi_tornado._Chunks", [](PyTypeObject& t) {
    t.tp_iter = PyObject_SelfIter;
    t.tp_iternext = chunks_next;
    t.tp_traverse = wrapper_traverse;
    t.tp_clear = wrapper_clear;
    t.tp_dealloc = wrapper_dealloc;
  });
}

}  // namespace

PyRef wrap_application(PyObject* callable, PyRef (*returned)(PyRef result) noexcept,
                       void (*called)(PyObject* environ) noexcept) {
  PyTypeObject* type = application_type();
  PyRef wrapped = py_check(PyType_GenericAlloc(type, 0));
  auto* const application = reinterpret_cast<Application*>(wrapped.get());
  application->wrapper.wrapped = PyRef::borrow(callable).release();
  application->returned = returned;
  application->called = called;
  return wrapped;
}

PyRef without_list_of_one(PyRef result) noexcept {
  PyObject* only = nullptr;
  if (PyList_CheckExact(result.get()) && PyList_GET_SIZE(result.get()) == 1) {
    only = PyList_GET_ITEM(result.get(), 0);
  } else if (PyTuple_CheckExact(result.get()) && PyTuple_GET_SIZE(result.get()) == 1) {
    only = PyTuple_GET_ITEM(result.get(), 0);
  }
  return only != nullptr && PyBytes_CheckExact(only) ? PyRef::borrow(only) : std::move(result);
}

PyRef iterator_with_first(PyObject* first, PyObject* rest) {
  const PyRef chain = imported("itertools", "chain");
  return py_check(PyObject_CallFunction(chain.get(), "[O]O", first, rest));
}

PyRef iterator_that_raises() {
  static PyMethodDef raise{"raise",
                           [](PyObject* exception, PyObject*) -> PyObject* {
                             PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception)), exception);
                             return nullptr;
                           },
                           METH_NOARGS, nullptr};
  const PyRef exception = take_exception();
  const PyRef raises = py_check(PyCFunction_New(&raise, exception.get()));
  return py_check(PyCallIter_New(raises.get(), Py_None));
}

PyRef wrap_raw_application(PyObject* callable) {
  chunks_type();  // Made here, where it may fail.
  return wrap_application(callable, contain_iteration);
}

bool is_wrapped(PyObject* callable) noexcept {
  return callable != nullptr && Py_TYPE(callable) == application_type();
}

void contain_system_exit() noexcept {
  if (!PyErr_Occurred() || !PyErr_ExceptionMatches(PyExc_SystemExit)) return;
  PyRef exit = take_exception();
  PyErr_SetString(PyExc_RuntimeError, "SystemExit in a request ends that request; the worker goes on");
  PyRef error = take_exception();
  PyException_SetCause(error.get(), exit.release());
  PyRef type = PyRef::borrow(reinterpret_cast<PyObject*>(Py_TYPE(error.get())));
  PyObject* const traceback = PyException_GetTraceback(error.get());
  PyErr_Restore(type.release(), error.release(), traceback);
}

}  // namespace python
