#include "plugin/uwsgi/embedded_python.h"

namespace engine {

using python::py_check;
using python::py_check_status;
using python::PyRef;

PyRef run_embedded(const char* name, const char* source) {
  PyRef names = py_check(PyDict_New());
  py_check_status(PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins()));
  py_check_status(PyDict_SetItemString(names.get(), "__name__", py_check(PyUnicode_FromString(name)).get()));
  const PyRef code = py_check(Py_CompileString(source, name, Py_file_input));
  py_check(PyEval_EvalCode(code.get(), names.get(), names.get()));
  return names;
}

}  // namespace engine
