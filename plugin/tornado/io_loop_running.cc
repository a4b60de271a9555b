#include "plugin/asyncio/policies.h"
#include "plugin/asyncio/worker_loop.h"
#include "plugin/python/python_source.h"
#include "plugin/tornado/io_loop_methods.h"
#include "plugin/tornado/tornado_io_loop.h"

namespace python::io_loop {
namespace {

bool is_worker_loop(const TornadoIoLoop& tornado_loop) noexcept {
  const WorkerLoop* const worker = WorkerLoop::instance();
  return worker != nullptr && worker->event_loop() == tornado_loop.asyncio_loop;
}

void refuse_for_worker(const TornadoIoLoop& tornado_loop, const char* text) {
  if (is_worker_loop(tornado_loop)) raise(PyExc_RuntimeError, text);
}

// Only the waiting is Python's: a coroutine cannot be written in C++.
constexpr char kRunSync[] = R"(
import asyncio

async def call(func, as_future):
    result = func()
    if result is None:
        return None
    future = as_future(result)
    if future is None:
        raise TypeError('run_sync() takes a function that returns an awaitable or None, not %r' % (result,))
    return await future

async def run_sync(func, timeout, as_future):
    task = asyncio.ensure_future(call(func, as_future))
    await asyncio.wait([task], timeout=timeout)
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if task.cancelled():
        raise asyncio.TimeoutError('Operation timed out after %s seconds' % timeout)
    return task.result()
)";

PyObject* run_sync_function() {
  static PyObject* function = nullptr;
  if (function != nullptr) return function;
  function = from_python_source(kRunSync, "uwsgi_tornado.IOLoop.run_sync", "run_sync").release();
  return function;
}

PyObject* as_future_or_none(PyObject* asyncio_loop, PyObject* result) noexcept {
  return py_boundary([=] {
    PyRef future = as_future_of(asyncio_loop, result);
    return future ? future : none();
  });
}

PyMethodDef as_future_method = {"as_future", as_future_or_none, METH_O, nullptr};

void close_descriptor(PyObject* file) {
  const PyRef closed =
      PyLong_Check(file)
          ? PyRef::steal(PyObject_CallFunctionObjArgs(imported("os", "close").get(), file, nullptr))
          : PyRef::steal(PyObject_CallMethod(file, "close", nullptr));
  if (closed) return;
  if (!PyErr_ExceptionMatches(PyExc_OSError)) throw PyError{};
  PyErr_Clear();
}

}  // namespace

PyObject* start(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    TornadoIoLoop& tornado_loop = tornado_loop_of(self);
    refuse_for_worker(tornado_loop,
                      "uWSGI runs this IOLoop as soon as the worker is set up: do not start it");
    const PyRef before = loop_set_here(event_loop_policy().get());
    set_event_loop(tornado_loop.asyncio_loop);
    if (!PyRef::steal(PyObject_CallMethod(tornado_loop.asyncio_loop, "run_forever", nullptr))) {
      const ErrorAside error;
      set_event_loop(before.get());
      throw PyError{};
    }
    set_event_loop(before.get());
    return none();
  });
}

PyObject* stop(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    refuse_for_worker(
        tornado_loop_of(self),
        "uWSGI runs this IOLoop until the worker ends (uwsgi.stop(), uwsgi.reload()): it cannot be stopped");
    return py_check(PyObject_CallMethod(tornado_loop_of(self).asyncio_loop, "stop", nullptr));
  });
}

PyObject* run_sync(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    PyObject *func, *timeout = Py_None;
    parse_arguments(args, kwargs, "O|O:run_sync", {"func", "timeout"}, &func, &timeout);
    PyObject* const loop = tornado_loop_of(self).asyncio_loop;
    const PyRef as_future = bind_to(as_future_method, PyRef::borrow(loop));
    const PyRef coroutine =
        py_check(PyObject_CallFunctionObjArgs(run_sync_function(), func, timeout, as_future.get(), nullptr));
    PyRef result = PyRef::steal(PyObject_CallMethod(loop, "run_until_complete", "O", coroutine.get()));
    if (result) return result;
    const ErrorAside error;
    // A loop that runs already has not taken it, and would have Python complain of that.
    if (!PyRef::steal(PyObject_CallMethod(coroutine.get(), "close", nullptr))) PyErr_Clear();
    throw PyError{};
  });
}

PyObject* close(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    int all_fds = 0;
    parse_arguments(args, kwargs, "|p:close", {"all_fds"}, &all_fds);
    TornadoIoLoop& tornado_loop = tornado_loop_of(self);
    refuse_for_worker(tornado_loop, "uWSGI closes this IOLoop as the worker ends");
    if (is_true(py_check(PyObject_CallMethod(tornado_loop.asyncio_loop, "is_running", nullptr)))) {
      raise(PyExc_RuntimeError, "Cannot close a running event loop");
    }
    const PyRef entries = py_check(PyDict_Copy(tornado_loop.handlers));
    PyObject *fd, *entry;
    for (Py_ssize_t place = 0; PyDict_Next(entries.get(), &place, &fd, &entry);) {
      forget_handler(tornado_loop, fd);
      if (all_fds) close_descriptor(PyTuple_GET_ITEM(entry, 0));
    }
    cease_to_be_current(tornado_loop);
    return py_check(PyObject_CallMethod(tornado_loop.asyncio_loop, "close", nullptr));
  });
}

}  // namespace python::io_loop
