#include "plugin/tornado/tornado_callbacks.h"

namespace python {
namespace {

// Python, for it wraps a Python method and an importer. What the callback gets is what Tornado 5 gave.
constexpr char kSource[] = R"(
import functools
import importlib.util
import sys
import time

NAME = 'tornado.httpclient'


def with_callback(module):
    original = module.AsyncHTTPClient.fetch

    @functools.wraps(original)
    def fetch(self, request, *args, callback=None, **kwargs):
        if args and callback is None and (args[0] is None or callable(args[0])):
            callback, *args = args
        if callback is None:
            return original(self, request, *args, **kwargs)
        raise_error = {'raise_error': kwargs.pop('raise_error')} if 'raise_error' in kwargs else {}
        if not isinstance(request, module.HTTPRequest):
            request, kwargs = module.HTTPRequest(url=request, **kwargs), {}

        def answer(future):
            if future.cancelled():
                return
            error = future.exception()
            response = future.result() if error is None else getattr(error, 'response', None)
            if response is None:
                response = module.HTTPResponse(request, 599, error=error, request_time=time.time() - request.start_time)
            self.io_loop.add_callback(callback, response)

        future = original(self, request, *args, **raise_error, **kwargs)
        future.add_done_callback(answer)
        return future

    module.AsyncHTTPClient.fetch = fetch


class Loader:
    """The module's own loader, and the wrapper as it has run."""

    def __init__(self, loader):
        self.loader = loader

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        with_callback(module)


class Finder:
    """Waits for the one import."""

    def find_spec(self, name, path=None, target=None):
        if name != NAME:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = Loader(spec.loader)
        return spec


def restore():
    if NAME in sys.modules:
        with_callback(sys.modules[NAME])
    else:
        sys.meta_path.insert(0, Finder())
)";

}  // namespace

void restore_tornado_callbacks() {
  const PyRef names = py_check(PyDict_New());
  py_check_status(PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins()));
  py_check_status(PyDict_SetItemString(names.get(), "__name__", py_check(PyUnicode_FromString("uwsgi_tornado")).get()));
  const PyRef code = py_check(Py_CompileString(kSource, "uwsgi_tornado.tornado_callbacks", Py_file_input));
  py_check(PyEval_EvalCode(code.get(), names.get(), names.get()));
  PyObject* const restore = PyDict_GetItemString(names.get(), "restore");  // Borrowed.
  py_check(PyObject_CallObject(restore, nullptr));
}

}  // namespace python
