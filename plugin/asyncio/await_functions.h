// The functions with which plain code of a request waits: await_, gather_, to_thread, sleep.
#pragma once

#include <Python.h>

namespace python {

extern PyMethodDef await_methods[];

}  // namespace python
