// Plain code of a request waits for what runs on the worker's event loop.
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace python {

class VirtualThread;
class WorkerLoop;

// The virtual thread of the request that calls `function`, where it may be suspended. Throws PyError
// with a sentence that names `function`.
VirtualThread& waiting_thread(const char* function);
// The worker's loop, which runs. Throws PyError likewise.
WorkerLoop& running_worker_loop(const char* function);

// The seconds of a `timeout` argument: negative, for ever, where it is null or None. Throws PyError.
double seconds_of(PyObject* timeout);

// A task or future of that loop. A coroutine's context is a copy of the request's. Throws PyError.
PyRef as_future(PyObject* awaitable, PyObject* event_loop);
// Suspends `thread`, the current one, until `future` is done, and returns its result. After `seconds`
// (negative: for ever), or when the request is interrupted, the future is cancelled and given time to clean
// up. Throws PyError.
PyRef await_future(VirtualThread& thread, PyObject* future, double seconds);

// What uwsgi_tornado.await_(awaitable, timeout) does. `timeout` may be null or None. Throws PyError.
PyRef await_in_request(PyObject* awaitable, PyObject* timeout);

}  // namespace python
