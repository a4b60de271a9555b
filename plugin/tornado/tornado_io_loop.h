// uwsgi_tornado.IOLoop: the event loop under the names of Tornado's, without Tornado.
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace python {

// The Python object: an asyncio loop, and the handlers of descriptors, which asyncio has one of for
// reading and one for writing. Each asyncio loop has one at most, kept by the loop itself. All
// of its callbacks run on the loop: for the worker's, on the hub. Raw pointers and not PyRefs:
// programs keep these objects to their end, which is no leak.
struct TornadoIoLoop {
  PyObject_HEAD PyObject* asyncio_loop;
  PyObject* handlers;     // {descriptor: (what it was named by, handler, events)}
  PyObject* loop_before;  // The thread's current loop before make_current(); null when it is not current.
  PyObject* weak_references;

  PyObject* object() noexcept { return reinterpret_cast<PyObject*>(this); }

  // Runs callback() at the time `when` of loop::wall_clock_s(); returns what cancel_timeout() takes. Throws
  // PyError.
  PyRef call_at(double when, PyObject* callback);
};

// The type uwsgi_tornado.IOLoop. Throws PyError.
PyObject* io_loop_type();

// IOLoop.current(): the IOLoop of the running loop, else of the current one. Throws PyError.
PyRef current_io_loop();

void cancel_timeout(PyObject* timeout);

// The pending exception goes to the log, and not further, as Tornado does with those of callbacks:
// logger "tornado.application". CancelledError is passed over. What is no Exception stays pending and
// is thrown on as PyError.
void log_exception_of(PyObject* callback);

// What a callback has returned, as a future of `asyncio_loop`; nothing where it cannot be awaited.
PyRef as_future_of(PyObject* asyncio_loop, PyObject* result);

}  // namespace python
