// The methods of uwsgi_tornado.IOLoop, one file for each subject, and the functions they share.
#pragma once

#include "plugin/python/py_ref.h"
#include "plugin/tornado/tornado_io_loop.h"

namespace python::io_loop {

inline TornadoIoLoop& tornado_loop_of(PyObject* self) noexcept {
  return *reinterpret_cast<TornadoIoLoop*>(self);
}

// A function called with one argument that finds `bound` as its self.
inline PyRef bind_to(PyMethodDef& method, const PyRef& bound) {
  return py_check(PyCFunction_New(&method, bound.get()));
}

inline bool is_closed(PyObject* asyncio_loop) {
  return is_true(py_check(PyObject_CallMethod(asyncio_loop, "is_closed", nullptr)));
}

// --- tornado_io_loop.cc ---------------------------------------------------------------------------

// The IOLoop of `asyncio_loop`. If there is none, makes one or, without `make`, returns nothing.
PyRef kept_by(PyObject* asyncio_loop, bool make);

// --- io_loop_callbacks.cc ----------------------------------------------------------------------

// Runs every callback of the IOLoop.
PyRef run_callback_method(TornadoIoLoop& tornado_loop);

PyObject* run_callback(PyObject* self, PyObject* callback) noexcept;
PyObject* add_callback(PyObject* self, PyObject* args, PyObject* kwargs) noexcept;
PyObject* add_callback_from_signal(PyObject* self, PyObject* args, PyObject* kwargs) noexcept;
PyObject* add_future(PyObject* self, PyObject* args, PyObject* kwargs) noexcept;
PyObject* run_in_executor(PyObject* self, PyObject* args) noexcept;
PyObject* set_default_executor(PyObject* self, PyObject* executor) noexcept;

// --- io_loop_timeouts.cc -----------------------------------------------------------------------

PyObject* add_timeout(PyObject* self, PyObject* args, PyObject* kwargs) noexcept;
PyObject* call_at(PyObject* self, PyObject* args, PyObject* kwargs) noexcept;
PyObject* call_later(PyObject* self, PyObject* args, PyObject* kwargs) noexcept;
PyObject* remove_timeout(PyObject*, PyObject* timeout) noexcept;
PyObject* time(PyObject*, PyObject*) noexcept;

// --- io_loop_handlers.cc -----------------------------------------------------------------------

// Tornado's, once those of epoll.
constexpr long kNone = 0, kRead = 0x001, kWrite = 0x004, kError = 0x018;

void forget_handler(TornadoIoLoop& tornado_loop, PyObject* fd);

PyObject* add_handler(PyObject* self, PyObject* args, PyObject* kwargs) noexcept;
PyObject* update_handler(PyObject* self, PyObject* args, PyObject* kwargs) noexcept;
PyObject* remove_handler(PyObject* self, PyObject* file) noexcept;
PyObject* handle_events(PyObject* self, PyObject* args) noexcept;

// --- io_loop_running.cc ------------------------------------------------------------------------

PyObject* start(PyObject* self, PyObject*) noexcept;
PyObject* stop(PyObject* self, PyObject*) noexcept;
PyObject* run_sync(PyObject* self, PyObject* args, PyObject* kwargs) noexcept;
PyObject* close(PyObject* self, PyObject* args, PyObject* kwargs) noexcept;

// --- io_loop_current.cc ------------------------------------------------------------------------

// IOLoop.current(instance=make). None if there is none and none is to be made.
PyRef current(bool make);

void become_current(TornadoIoLoop& tornado_loop);
void cease_to_be_current(TornadoIoLoop& tornado_loop);

PyObject* current_function(PyObject*, PyObject* args, PyObject* kwargs) noexcept;
PyObject* instance(PyObject*, PyObject*) noexcept;
PyObject* make_current(PyObject* self, PyObject*) noexcept;
PyObject* clear_current(PyObject*, PyObject*) noexcept;

}  // namespace python::io_loop
