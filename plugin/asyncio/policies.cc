#include "plugin/asyncio/policies.h"

#include <string>

namespace python {
namespace {

// asyncio's `name`, by the name of its own where there is one.
PyRef of_asyncio(const char* own_module, const char* name) {
#if PY_VERSION_HEX >= 0x030E0000
  const PyRef module = py_check(PyImport_ImportModule(own_module));
  PyRef own = PyRef::steal(PyObject_GetAttrString(module.get(), (std::string("_") + name).c_str()));
  if (own) return own;
  PyErr_Clear();
#else
  (void)own_module;
#endif
  return imported("asyncio", name);
}

}  // namespace

PyRef default_event_loop_policy_type() { return of_asyncio("asyncio.unix_events", "DefaultEventLoopPolicy"); }

PyRef event_loop_policy() {
  const PyRef function = of_asyncio("asyncio.events", "get_event_loop_policy");
  return py_check(PyObject_CallObject(function.get(), nullptr));
}

void set_event_loop_policy(PyObject* policy) {
  const PyRef function = of_asyncio("asyncio.events", "set_event_loop_policy");
  py_check(PyObject_CallFunctionObjArgs(function.get(), policy, nullptr));
}

PyRef loop_set_here(PyObject* policy) {
  const PyRef local = PyRef::steal(PyObject_GetAttrString(policy, "_local"));
  PyRef loop = local ? PyRef::steal(PyObject_GetAttrString(local.get(), "_loop")) : PyRef();
  if (loop) return loop;
  PyErr_Clear();
  return none();
}

void set_event_loop(PyObject* loop) {
  py_check(PyObject_CallFunctionObjArgs(imported("asyncio", "set_event_loop").get(), loop, nullptr));
}

}  // namespace python
