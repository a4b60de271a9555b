// Subprocesses of an event loop: their end is an event of a pidfd.
#pragma once

#include <Python.h>

namespace python {

// Adds to `class_body`, a dict, what makes a loop watch its children by itself, without a
// thread or SIGCHLD. Adds nothing where the kernel has no pidfds. Throws PyError.
void add_subprocess_methods(PyObject* class_body);

}  // namespace python
