#include "plugin/python/python_source.h"

namespace python {
namespace {

constexpr char kImports[] = R"(
import importlib.util
import sys


class Loader:
    """The module's own loader, and the function once the module has run."""

    def __init__(self, loader, function):
        self.loader = loader
        self.function = function

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.function(module)


class Finder:
    """Waits for the one import."""

    def __init__(self, name, function):
        self.name = name
        self.function = function

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            sys.meta_path.insert(0, self)
        else:
            spec.loader = Loader(spec.loader, self.function)
        return spec


def when_imported(name, function):
    if name in sys.modules:
        function(sys.modules[name])
    else:
        sys.meta_path.insert(0, Finder(name, function))
)";

}  // namespace

PyRef from_python_source(const char* source, const char* file, const char* name) {
  const PyRef names = py_check(PyDict_New());
  py_check_status(PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins()));
  py_check_status(PyDict_SetItemString(names.get(), "__name__", py_check(PyUnicode_FromString("uwsgi_tornado")).get()));
  const PyRef code = py_check(Py_CompileString(source, file, Py_file_input));
  py_check(PyEval_EvalCode(code.get(), names.get(), names.get()));
  return PyRef::borrow(PyDict_GetItemString(names.get(), name));
}

void when_imported(const char* name, const PyRef& function) {
  const PyRef wait = from_python_source(kImports, "uwsgi_tornado.when_imported", "when_imported");
  py_check(PyObject_CallFunction(wait.get(), "sO", name, function.get()));
}

}  // namespace python
