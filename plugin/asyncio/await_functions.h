// The Python functions that suspend a request: await_, gather_, to_thread and sleep.
#pragma once

#include <Python.h>

namespace python {

extern PyMethodDef await_methods[];

}  // namespace python
