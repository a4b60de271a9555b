// Classes of asyncio's with some methods in C++.
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace python {

// uwsgi_tornado.NAME, derived from `base`, with `methods`, which end with one that has no name and live as
// long as the type. Throws PyError.
inline PyRef derived_type(PyObject* base, const char* name, const char* doc, PyMethodDef* methods) {
  const PyRef body = py_check(Py_BuildValue("{s:s,s:s}", "__module__", "uwsgi_tornado", "__doc__", doc));
  PyRef type = py_check(
      PyObject_CallFunction(reinterpret_cast<PyObject*>(&PyType_Type), "s(O)O", name, base, body.get()));
  for (PyMethodDef* method = methods; method->ml_name != nullptr; ++method) {
    const PyRef function = py_check(PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.get()), method));
    py_check_status(PyObject_SetAttrString(type.get(), method->ml_name, function.get()));
  }
  return type;
}

// make(loop, *args, **kwargs)
inline PyRef call_with_loop(PyObject* make, PyObject* loop, PyObject* args, PyObject* kwargs) {
  const PyRef leading = py_check(PyTuple_Pack(1, loop));
  return py_check(PyObject_Call(make, py_check(PySequence_Concat(leading.get(), args)).get(), kwargs));
}

}  // namespace python
