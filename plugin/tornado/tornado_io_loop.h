// uwsgi_tornado.IOLoop: the event loop with the names of Tornado's IOLoop, without Tornado.
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace python {

// The Python object: an asyncio loop, and the handlers of descriptors, of which asyncio has one for reading
// and one for writing. An asyncio loop has at most one, which it keeps itself. All its callbacks run on the
// loop, for the worker's loop on the hub. It has raw pointers, not PyRefs, because programs keep these
// objects to their end, which is no leak.
struct TornadoIoLoop {
  PyObject_HEAD PyObject* asyncio_loop;
  PyObject* handlers;     // {descriptor: (what it was named by, handler, events)}
  PyObject* loop_before;  // The thread's current loop before make_current(); null when it is not current.
  PyObject* weak_references;

  PyObject* object() noexcept { return reinterpret_cast<PyObject*>(this); }

  // Runs callback() at the time `when` of loop::wall_clock_s(). Returns the argument for cancel_timeout().
  // Throws PyError.
  PyRef call_at(double when, PyObject* callback);
};

// The type uwsgi_tornado.IOLoop. Throws PyError.
PyObject* io_loop_type();

// IOLoop.current(): the IOLoop of the running loop, else of the current one. Throws PyError.
PyRef current_io_loop();

void cancel_timeout(PyObject* timeout);

// Logs the pending exception of a callback, as Tornado does, to the logger "tornado.application".
// CancelledError is ignored. An exception that is not an Exception stays pending, and is thrown as
// PyError.
void log_exception_of(PyObject* callback);

// The result of a callback as a future of `asyncio_loop`; nothing if it cannot be awaited.
PyRef as_future_of(PyObject* asyncio_loop, PyObject* result);

}  // namespace python
