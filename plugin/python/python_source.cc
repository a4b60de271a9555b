#include "plugin/python/python_source.h"

namespace python {
namespace {

constexpr char kImports[] = R"(
import sys


class Loader:
    """The module's own loader, and the finder's function once the module has run."""

    def __init__(self, loader, finder):
        self.loader = loader
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.finder.imported(module)


class Finder:
    """Waits for the first import that succeeds; some only ask whether there is such a module."""

    def __init__(self, name, function):
        self.name = name
        self.function = function

    def find_spec(self, name, path=None, target=None):
        if name != self.name or self not in sys.meta_path:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1:]:
            find_spec = getattr(finder, 'find_spec', None)  # Old ones have find_module() only.
            spec = find_spec and find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = Loader(spec.loader, self)
                return spec
        return None

    def imported(self, module):
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            self.function(module)


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
  py_check_status(
      PyDict_SetItemString(names.get(), "__name__", py_check(PyUnicode_FromString("uwsgi_tornado")).get()));
  const PyRef code = py_check(Py_CompileString(source, file, Py_file_input));
  py_check(PyEval_EvalCode(code.get(), names.get(), names.get()));
  return PyRef::borrow(PyDict_GetItemString(names.get(), name));
}

void when_imported(const char* name, const PyRef& function) {
  const PyRef wait = from_python_source(kImports, "uwsgi_tornado.when_imported", "when_imported");
  py_check(PyObject_CallFunction(wait.get(), "sO", name, function.get()));
}

}  // namespace python
