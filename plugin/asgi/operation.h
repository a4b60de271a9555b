// What receive() and send() return.
#pragma once

#include "plugin/python/py_ref.h"

namespace asgi {

class Connection;

// A coroutine to asyncio (collections.abc.Coroutine), which does nothing until it is awaited: so a receive()
// that is cancelled has taken no message. Costs no task and no future where it need not wait. `connection` is
// the Python object of one. Throws PyError.
python::PyRef receive_operation(PyObject* connection);
python::PyRef send_operation(PyObject* connection, PyObject* message);

}  // namespace asgi
