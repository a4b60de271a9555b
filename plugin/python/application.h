// What stands between uWSGI and a WSGI callable.
#pragma once

#include "plugin/python/py_ref.h"

namespace python {

// Where environ has the connection of a request that asks for a websocket, as gunicorn has it. An
// application that took it over may end by StopIteration, as gunicorn's do.
inline constexpr char kConnectionKey[] = "gunicorn.socket";

// Wraps a WSGI callable: environ["wsgi.multithread"] is true, since another request may run
// in the same process while this one waits (PEP 3333). SystemExit does not come out of it
// (contain_system_exit), which also serves other callables. `called`, if not null, is shown the
// environ of each call; `returned`, if not null, is given each result and says what goes on in its
// place. Throws PyError.
PyRef wrap_application(PyObject* callable, PyRef (*returned)(PyRef result) noexcept,
                       void (*called)(PyObject* environ) noexcept = nullptr);

// The bytes object alone of a list or tuple that has nothing else, any other result as it is:
// a server that takes bare bytes is spared the iteration, and its client sees the same.
PyRef without_list_of_one(PyRef result) noexcept;

// Wraps a callable whose answer uWSGI iterates by itself: SystemExit comes neither out of it nor
// out of the iteration. Throws PyError.
PyRef wrap_raw_application(PyObject* callable);

// True for what wrap_application() made.
bool is_wrapped(PyObject* callable) noexcept;

// When SystemExit is pending, turns it into a RuntimeError caused by it: printing SystemExit
// would end the process and every request in it (PyErr_Print's contract). With the GIL held.
void contain_system_exit() noexcept;

}  // namespace python
