#include "plugin/python/asyncio_names.h"

#include "plugin/python/py_ref.h"

namespace python {
namespace {

PyObject* import(const char* module) { return py_check(PyImport_ImportModule(module)).release(); }

PyObject* name_of(const char* module, const char* name) {
  const PyRef imported = py_check(PyImport_ImportModule(module));
  return py_check(PyObject_GetAttrString(imported.get(), name)).release();
}

AsyncioNames look_up() {
  AsyncioNames names;
  names.base_loop = name_of("asyncio.unix_events", "_UnixSelectorEventLoop");
  names.base_events = import("asyncio.base_events");
  names.unix_events = import("asyncio.unix_events");
  names.format_helpers = import("asyncio.format_helpers");
  names.handle = name_of("asyncio.events", "Handle");
  names.timer_handle = name_of("asyncio.events", "TimerHandle");
  names.future = name_of("asyncio.futures", "Future");
  names.get_running_loop = name_of("asyncio.events", "_get_running_loop");
  names.set_running_loop = name_of("asyncio.events", "_set_running_loop");
  names.partial = name_of("functools", "partial");
  names.get_asyncgen_hooks = name_of("sys", "get_asyncgen_hooks");
  names.set_asyncgen_hooks = name_of("sys", "set_asyncgen_hooks");
  names.main_thread = name_of("threading", "main_thread");
  return names;
}

}  // namespace

const AsyncioNames& asyncio_names() {
  static bool known = false;
  static AsyncioNames names;
  if (!known) {
    names = look_up();
    known = true;
  }
  return names;
}

}  // namespace python
