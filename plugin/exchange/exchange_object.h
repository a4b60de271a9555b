// An Exchange as a Python object, for tornado_web/connection.py.
#pragma once

#include <Python.h>

#include "plugin/exchange/exchange.h"
#include "plugin/python/py_ref.h"

namespace engine {

// A new Exchange of the thread's request. It calls these methods of `owner`, on the loop's own stack:
//
//   on_sent()           the kernel has taken everything sent so far
//   on_received(bytes)  the bytes that receive() asked for; empty at the end of the body
//   on_malformed()      the chunked encoding of the body is invalid
//   on_gone()           the client has disconnected
//
// Throws PyError.
python::PyRef make_exchange(RequestThread& thread);
void set_owner(PyObject* exchange, PyObject* owner) noexcept;
Exchange& exchange_of(PyObject* exchange) noexcept;

}  // namespace engine
