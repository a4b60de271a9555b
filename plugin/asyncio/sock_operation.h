// loop.sock_recv(), sock_recv_into(), sock_sendall(), sock_accept() and sock_connect().
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace python {

// As methods with keywords. What they return is a coroutine in C++ where `sock` is a plain socket.socket that
// does not block, and the other arguments are what nearly everybody gives; else it is asyncio's own
// coroutine.
PyObject* sock_recv(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept;
PyObject* sock_recv_into(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept;
PyObject* sock_sendall(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept;
PyObject* sock_accept(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept;
PyObject* sock_connect(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept;

bool is_sock_operation(PyObject* object) noexcept;
// Its descriptor is ready: it tries again, and its future is done where that was all. It runs no callback:
// those of the future are the loop's next. Throws PyError for SystemExit and KeyboardInterrupt. REQUIRES:
// is_sock_operation(operation).
void sock_operation_ready(PyObject* operation);

}  // namespace python
