// uwsgi_tornado.stopping: the event that long-running code waits for, besides its own.
#pragma once

#include <Python.h>

namespace python {

// Adds `stopping` to the module. Throws PyError.
void add_stopping(PyObject* module);

// The worker begins to drain: sets the event and wakes all waiters. With the GIL.
void set_stopping() noexcept;

}  // namespace python
