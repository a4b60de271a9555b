// Subprocesses of an event loop: their end is an event of a pidfd.
#pragma once

#include <Python.h>

namespace python {

// Adds to the dict `class_body` the methods by which a loop watches its children itself, without a thread or
// SIGCHLD. Adds nothing if the kernel has no pidfds. Throws PyError.
void add_subprocess_methods(PyObject* class_body);

}  // namespace python
