// Classes of asyncio's with some methods in C++.
#pragma once

#include <Python.h>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/python/py_ref.h"

namespace python {

// uwsgi_tornado.NAME, derived from `base`, with `methods`, which end with one that has no name and live as
// long as the type. `slots` is a tuple for __slots__, or null. Throws PyError.
inline PyRef derived_type(PyObject* base, const char* name, const char* doc, PyMethodDef* methods,
                          PyObject* slots = nullptr) {
  const PyRef body = py_check(Py_BuildValue("{s:s,s:s}", "__module__", "uwsgi_tornado", "__doc__", doc));
  if (slots != nullptr) py_check_status(PyDict_SetItemString(body.get(), "__slots__", slots));
  PyRef type = py_check(
      PyObject_CallFunction(reinterpret_cast<PyObject*>(&PyType_Type), "s(O)O", name, base, body.get()));
  for (PyMethodDef* method = methods; method->ml_name != nullptr; ++method) {
    const PyRef function = py_check(PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.get()), method));
    py_check_status(PyObject_SetAttrString(type.get(), method->ml_name, function.get()));
  }
  return type;
}

// function(first, *args, **kwargs)
inline PyRef call_with_first(PyObject* function, PyObject* first, PyObject* args, PyObject* kwargs) {
  const PyRef leading = py_check(PyTuple_Pack(1, first));
  return py_check(PyObject_Call(function, py_check(PySequence_Concat(leading.get(), args)).get(), kwargs));
}

// Gives the dict `class_body` the method `name` of asyncio's loop, for which what its module calls `global`
// is `value`. Does nothing where that method is no function of Python's. Throws PyError.
inline void replace_global(PyObject* class_body, const char* name, const char* global, PyObject* value) {
  const PyRef original = py_check(PyObject_GetAttrString(asyncio_names().base_loop, name));
  if (!PyFunction_Check(original.get())) return;
  const PyRef globals = py_check(PyDict_Copy(PyFunction_GetGlobals(original.get())));
  py_check_status(PyDict_SetItemString(globals.get(), global, value));
  const PyRef function = py_check(PyFunction_New(PyFunction_GetCode(original.get()), globals.get()));
  for (const char* field : {"__defaults__", "__kwdefaults__", "__qualname__"}) {
    const PyRef copied = py_check(PyObject_GetAttrString(original.get(), field));
    py_check_status(PyObject_SetAttrString(function.get(), field, copied.get()));
  }
  py_check_status(PyDict_SetItemString(class_body, name, function.get()));
}

}  // namespace python
