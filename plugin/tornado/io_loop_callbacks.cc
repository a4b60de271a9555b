#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/event_loop.h"
#include "plugin/tornado/call_arguments.h"
#include "plugin/tornado/io_loop_methods.h"
#include "plugin/tornado/tornado_io_loop.h"

namespace python::io_loop {
namespace {

bool is_asyncio_future(PyObject* object) {
  return is_true(
      py_check(PyObject_CallFunctionObjArgs(imported("asyncio", "isfuture").get(), object, nullptr)));
}

// The future of a callback's result is done. Nobody else would see its exception.
PyObject* on_result(PyObject* callback, PyObject* future) noexcept {
  return py_boundary([=] {
    if (!PyRef::steal(PyObject_CallMethod(future, "result", nullptr))) log_exception_of(callback);
  });
}

PyMethodDef on_result_method = {"on_result", on_result, METH_O, nullptr};

void watch_result(const TornadoIoLoop& tornado_loop, PyObject* callback, PyObject* result) {
  const PyRef future = as_future_of(tornado_loop.asyncio_loop, result);
  if (!future) return;  // Methods that return this or that are used as callbacks too.
  const PyRef watcher = bind_to(on_result_method, PyRef::borrow(callback));
  py_check(PyObject_CallMethod(future.get(), "add_done_callback", "O", watcher.get()));
}

bool is_closed_aside(const TornadoIoLoop& tornado_loop) {
  const ErrorAside error;
  return is_closed(tornado_loop.asyncio_loop);
}

// What is added to a closed loop is dropped: a thread cannot know.
void call_soon(TornadoIoLoop& tornado_loop, const char* method, const PyRef& callback) {
  const PyRef run = run_callback_method(tornado_loop);
  if (PyRef::steal(PyObject_CallMethod(tornado_loop.asyncio_loop, method, "OO", run.get(), callback.get())))
    return;
  if (!PyErr_ExceptionMatches(PyExc_RuntimeError)) throw PyError{};
  if (!is_closed_aside(tornado_loop)) throw PyError{};
  PyErr_Clear();
}

// Only on the loop itself need it not be woken. A request has no running loop.
const char* call_soon_method(const TornadoIoLoop& tornado_loop) {
  return get_running_loop().get() == tornado_loop.asyncio_loop ? "call_soon" : "call_soon_threadsafe";
}

// Both have (IOLoop, callback) as their self.
PyObject* on_future(PyObject* bound, PyObject* future) noexcept {
  return py_boundary([=] {
    PyObject* const self = PyTuple_GET_ITEM(bound, 0);
    const PyRef call = py_check(
        PyObject_CallFunctionObjArgs(asyncio_names().partial, PyTuple_GET_ITEM(bound, 1), future, nullptr));
    return py_check(PyObject_CallMethod(self, "_run_callback", "O", call.get()));
  });
}
PyObject* on_concurrent_future(PyObject* bound, PyObject* future) noexcept {
  return PyObject_CallMethod(PyTuple_GET_ITEM(bound, 0), "add_callback", "OO", PyTuple_GET_ITEM(bound, 1),
                             future);
}

PyMethodDef on_future_method = {"on_future", on_future, METH_O, nullptr};
PyMethodDef on_concurrent_future_method = {"on_concurrent_future", on_concurrent_future, METH_O, nullptr};

}  // namespace

PyRef run_callback_method(TornadoIoLoop& tornado_loop) {
  return py_check(PyObject_GetAttrString(tornado_loop.object(), "_run_callback"));
}

PyObject* run_callback(PyObject* self, PyObject* callback) noexcept {
  return py_boundary([=] {
    const PyRef result = PyRef::steal(PyObject_CallObject(callback, nullptr));
    if (!result) log_exception_of(callback);
    else if (result.get() != Py_None) watch_result(tornado_loop_of(self), callback, result.get());
    return none();
  });
}

PyObject* add_callback(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    const PyRef callback = CallArguments("add_callback", args, kwargs).bind_callback();
    call_soon(tornado_loop_of(self), call_soon_method(tornado_loop_of(self)), callback);
  });
}

PyObject* add_callback_from_signal(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    const PyRef callback = CallArguments("add_callback_from_signal", args, kwargs).bind_callback();
    call_soon(tornado_loop_of(self), "call_soon_threadsafe", callback);
  });
}

PyObject* add_future(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    CallArguments arguments("add_future", args, kwargs);
    const PyRef future = arguments.take("future");
    const PyRef bound = py_check(PyTuple_Pack(2, self, arguments.take("callback").get()));
    const bool concurrent = is_concurrent_future(future.get());
    if (!concurrent && !is_asyncio_future(future.get())) {
      raise(PyExc_TypeError, "add_future() takes a Future, not %R", future.get());
    }
    const PyRef callback = bind_to(concurrent ? on_concurrent_future_method : on_future_method, bound);
    py_check(PyObject_CallMethod(future.get(), "add_done_callback", "O", callback.get()));
  });
}

PyObject* run_in_executor(PyObject* self, PyObject* args) noexcept {
  return py_boundary([=] {
    const PyRef method =
        py_check(PyObject_GetAttrString(tornado_loop_of(self).asyncio_loop, "run_in_executor"));
    return py_check(PyObject_CallObject(method.get(), args));
  });
}

PyObject* set_default_executor(PyObject* self, PyObject* executor) noexcept {
  return PyObject_CallMethod(tornado_loop_of(self).asyncio_loop, "set_default_executor", "O", executor);
}

}  // namespace python::io_loop

namespace python {

void log_exception_of(PyObject* callback) {
  const PyRef error = take_exception();
  PyObject* const type = reinterpret_cast<PyObject*>(Py_TYPE(error.get()));
  if (PyErr_GivenExceptionMatches(type, imported("asyncio", "CancelledError").get())) return;
  if (!PyErr_GivenExceptionMatches(type, PyExc_Exception)) {
    PyErr_SetObject(type, error.get());
    throw PyError{};
  }
  const PyRef logger =
      py_check(PyObject_CallFunction(imported("logging", "getLogger").get(), "s", "tornado.application"));
  const PyRef method = py_check(PyObject_GetAttrString(logger.get(), "error"));
  const PyRef args = py_check(Py_BuildValue("(sO)", "Exception in callback %r", callback));
  call_with_option(method.get(), args, "exc_info", error.get());
}

PyRef as_future_of(PyObject* asyncio_loop, PyObject* result) {
  if (io_loop::is_asyncio_future(result)) return PyRef::borrow(result);
  const AsyncioNames& names = asyncio_names();
  const bool concurrent = is_concurrent_future(result);
  if (!concurrent && !is_true(py_check(PyObject_CallFunctionObjArgs(imported("inspect", "isawaitable").get(),
                                                                    result, nullptr))))
    return {};
  return call_with_option(concurrent ? names.wrap_future : names.ensure_future,
                          py_check(PyTuple_Pack(1, result)), "loop", asyncio_loop);
}

}  // namespace python
