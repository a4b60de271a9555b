// The wrappers between uWSGI and a WSGI callable.
#pragma once

#include "plugin/python/py_ref.h"

namespace python {

// The key of environ under which a websocket request finds its connection, as in gunicorn. An application
// that took the connection over may end with StopIteration, as under gunicorn.
inline constexpr char kConnectionKey[] = "gunicorn.socket";

// Wraps a WSGI callable: environ["wsgi.multithread"] is true, because another request may run
// in the same process while this one waits (PEP 3333). SystemExit does not leave it, nor any
// other wrapped callable (contain_system_exit). `called`, if not null, gets the environ of each
// call; `returned`, if not null, gets each result and returns what takes its place. Throws
// PyError.
PyRef wrap_application(PyObject* callable, PyRef (*returned)(PyRef result) noexcept,
                       void (*called)(PyObject* environ) noexcept = nullptr);

// Unwraps a list or tuple whose only item is a bytes object; returns any other result as it is. A server that
// accepts bare bytes is spared the iteration, and its client sees no difference.
PyRef without_list_of_one(PyRef result) noexcept;

// Wraps a callable whose result uWSGI iterates itself: SystemExit leaves neither the call nor the iteration.
// Throws PyError.
PyRef wrap_raw_application(PyObject* callable);

// Iterates over `first`, then over `rest`. Throws PyError.
PyRef iterator_with_first(PyObject* first, PyObject* rest);
// Raises the current exception, which is cleared. Throws PyError.
PyRef iterator_that_raises();

// True for the results of wrap_application().
bool is_wrapped(PyObject* callable) noexcept;

// If SystemExit is pending, replaces it with a RuntimeError caused by it: printing SystemExit (PyErr_Print)
// would end the process and every request in it. With the GIL held.
void contain_system_exit() noexcept;

}  // namespace python
