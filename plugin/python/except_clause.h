// An exception that is being handled.
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace python {

// What sys.exc_info() shows while this lives, as in an except clause: exception handlers log it.
class ExceptClause {
 public:
  explicit ExceptClause(const PyRef& exception) noexcept {
    PyErr_GetExcInfo(&type_, &value_, &traceback_);
    PyErr_SetExcInfo(PyRef::borrow(reinterpret_cast<PyObject*>(Py_TYPE(exception.get()))).release(),
                     PyRef(exception).release(), PyException_GetTraceback(exception.get()));
  }
  ~ExceptClause() { PyErr_SetExcInfo(type_, value_, traceback_); }
  ExceptClause(const ExceptClause&) = delete;
  ExceptClause& operator=(const ExceptClause&) = delete;

 private:
  PyObject *type_, *value_, *traceback_;
};

}  // namespace python
