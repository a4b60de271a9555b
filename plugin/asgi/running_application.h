// The coroutine that the task of an application runs.
#pragma once

#include "plugin/python/py_ref.h"

namespace asgi {

class Connection;

// Calls application(scope, receive, send) and returns a coroutine, for a task to run, that wraps the
// application's. The wrapper tells `connection` when the application ends, and attributes each step to the
// request. Returns null if the application has ended already; the connection has been told then. `self` is
// the Python object that owns `connection`. On the loop. Throws PyError.
python::PyRef run_application(Connection& connection, PyObject* self, PyObject* application, PyObject* scope,
                              PyObject* receive, PyObject* send);

// The application's own coroutine; null once it has ended.
python::PyRef coroutine_of(PyObject* running);

}  // namespace asgi
