// What is shorter in Python than in C++.
#pragma once

#include "plugin/python/py_ref.h"

namespace python {

// Runs `source` as a module of its own, called `file` in tracebacks, and returns what it calls `name`.
// Throws PyError.
PyRef from_python_source(const char* source, const char* file, const char* name);

// Calls function(module) once the module `name` is there: now, or as soon as it has been imported.
// Throws PyError.
void when_imported(const char* name, const PyRef& function);

}  // namespace python
