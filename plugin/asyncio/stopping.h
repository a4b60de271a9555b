// uwsgi_tornado.stopping: the event that code which goes on for long waits for beside its own.
#pragma once

#include <Python.h>

namespace python {

// Adds `stopping` to the module. Throws PyError.
void add_stopping(PyObject* module);

// The worker begins to drain: sets the event, and wakes all who wait for it. With the GIL.
void set_stopping() noexcept;

}  // namespace python
