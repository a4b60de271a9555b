// Functions for tests of the event loop, in the debug build only.
#pragma once

#include <Python.h>

namespace python {

// Adds _live() and _Host to the module. Does nothing in other builds. Throws PyError.
void add_debug_names(PyObject* module);

}  // namespace python
