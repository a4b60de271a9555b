// The awaitables that receive() and send() return.
#pragma once

#include "plugin/python/py_ref.h"

namespace asgi {

class Connection;

// Both return a coroutine (collections.abc.Coroutine). It does nothing until it is awaited, so that a
// cancelled receive() has taken no message, and makes no task or future unless it has to wait. `connection`
// is the Python object that owns a Connection. Throws PyError.
python::PyRef receive_operation(PyObject* connection);
python::PyRef send_operation(PyObject* connection, PyObject* message);

}  // namespace asgi
