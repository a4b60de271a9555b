// Python types that are written in C++ and live as long as the process.
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace python {

// The type of that name whose instances are `Object`s. On the first call fill(type) sets its other slots. A
// type with tp_traverse is garbage-collected. Each lambda makes one type, so call it in one place. Throws
// PyError.
template <typename Object, typename Fill>
PyTypeObject* static_type(const char* name, Fill fill) {
  static PyTypeObject type = [&] {
    PyTypeObject made = {PyVarObject_HEAD_INIT(nullptr, 0)};
    made.tp_name = name;
    made.tp_basicsize = sizeof(Object);
    made.tp_flags = Py_TPFLAGS_DEFAULT;
    fill(made);
    if (made.tp_traverse != nullptr) made.tp_flags |= Py_TPFLAGS_HAVE_GC;
    return made;
  }();
  py_check_status(PyType_Ready(&type));  // Does nothing the second time.
  return &type;
}

}  // namespace python
