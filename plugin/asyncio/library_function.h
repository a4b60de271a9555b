// Functions of Python's library that C++ code does without.
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace python {

// Whether `object` is the function that the source of `module` defines as `name`. A function that somebody
// has put in its place is not, even with the same __module__ and __qualname__: its code runs in another
// module, or has another name. False for null. Throws PyError.
inline bool is_library_function(PyObject* object, PyObject* module, const char* name) {
  if (object == nullptr || !PyFunction_Check(object) || !PyModule_Check(module)) return false;
  if (PyFunction_GET_GLOBALS(object) != PyModule_GetDict(module)) return false;
  const PyRef defined_as = py_check(PyObject_GetAttrString(PyFunction_GET_CODE(object), "co_name"));
  return PyUnicode_CompareWithASCIIString(defined_as.get(), name) == 0;
}

}  // namespace python
