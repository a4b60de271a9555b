// In place of all else in this folder where the plugin is built without libcurl.
#include "plugin/fetch/fetch_module.h"

#include "plugin/python/py_ref.h"

namespace python {
namespace {

[[noreturn]] void refuse() {
  raise(PyExc_RuntimeError,
        "this plugin was built without libcurl, so it cannot fetch: install libcurl4-openssl-dev and build "
        "it again");
}

PyObject* fetch(PyObject*, PyObject*, PyObject*) noexcept {
  return py_boundary([]() -> PyRef { refuse(); });
}

PyMethodDef functions[] = {
    {"fetch", as_method(fetch), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"fetch_async", as_method(fetch), METH_VARARGS | METH_KEYWORDS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void add_fetch_names(PyObject* module) { py_check_status(PyModule_AddFunctions(module, functions)); }

std::size_t fetches_in_flight(const loop::IoLoop&) noexcept { return 0; }

PyObject* tornado_http_client() { refuse(); }

void configure_tornado_http_client() { refuse(); }

#ifdef UWSGI_TORNADO_DEBUG
long live_transfers() noexcept { return 0; }
#endif

}  // namespace python
