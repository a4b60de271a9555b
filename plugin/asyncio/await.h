// Lets plain (not async) code of a request wait for coroutines and futures of the worker's event loop.
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace python {

class VirtualThread;
class WorkerLoop;

// The virtual thread of the calling request. Throws PyError, with a message that names `function`, if the
// caller is not a request or must not be suspended here.
VirtualThread& waiting_thread(const char* function);
// The worker's event loop. Throws PyError, with a message that names `function`, if it is not running.
WorkerLoop& running_worker_loop(const char* function);

// Converts a `timeout` argument to seconds. Null and None give a negative number: no timeout. Throws PyError.
double seconds_of(PyObject* timeout);

// Makes `awaitable` a task or future of `event_loop`. A coroutine runs in a copy of the request's context.
// Throws PyError.
PyRef as_future(PyObject* awaitable, PyObject* event_loop);
// Suspends `thread`, the current one, until `future` is done, and returns its result. After `seconds`
// (negative: no limit), or when the request is interrupted, cancels the future and gives it time to clean
// up. Throws PyError.
PyRef await_future(VirtualThread& thread, PyObject* future, double seconds);

// Implements uwsgi_tornado.await_(awaitable, timeout). `timeout` may be null or None. Throws PyError.
PyRef await_in_request(PyObject* awaitable, PyObject* timeout);

}  // namespace python
