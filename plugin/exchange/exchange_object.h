// An Exchange as a Python object, for what is written in Python.
#pragma once

#include <Python.h>

#include "plugin/exchange/exchange.h"
#include "plugin/python/py_ref.h"

namespace engine {

// A new one of that thread's request. `owner` has the methods that it calls, on the loop's own stack:
//
//   on_sent()           all that was sent so far is with the kernel
//   on_received(bytes)  what receive() asked for; empty: the end
//   on_malformed()      the chunks of the body are none
//   on_gone()           the client has gone
//
// Throws PyError.
python::PyRef make_exchange(RequestThread& thread);
void set_owner(PyObject* exchange, PyObject* owner) noexcept;
Exchange& exchange_of(PyObject* exchange) noexcept;

}  // namespace engine
