// The coroutine of an application, as its task runs it.
#pragma once

#include "plugin/python/py_ref.h"

namespace asgi {

class Connection;

// Calls application(scope, receive, send) and returns what a task is to run: a coroutine round the
// application's, which tells `connection` how that ends and has its steps known as the request's. Null when
// that has ended already, and the connection knows. `self` is the Python object of `connection`. On the loop.
// Throws PyError.
python::PyRef run_application(Connection& connection, PyObject* self, PyObject* application, PyObject* scope,
                              PyObject* receive, PyObject* send);

// The application's own coroutine; null once it has ended.
python::PyRef coroutine_of(PyObject* running);

}  // namespace asgi
