// What is needed of asyncio, looked up once.
#pragma once

#include <Python.h>

namespace python {

// Borrowed: they live as long as the process.
struct AsyncioNames {
  PyObject* base_loop;  // asyncio.unix_events._UnixSelectorEventLoop
  PyObject* base_events;
  PyObject* unix_events;
  PyObject* format_helpers;
  PyObject* handle;
  PyObject* timer_handle;
  PyObject* future;
  PyObject* get_running_loop;  // None where there is none.
  PyObject* set_running_loop;
  PyObject* partial;
  PyObject* get_asyncgen_hooks;
  PyObject* set_asyncgen_hooks;
  PyObject* main_thread;
};

// Imports asyncio on the first call. Throws PyError.
const AsyncioNames& asyncio_names();

}  // namespace python
