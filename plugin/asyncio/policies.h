// asyncio's event loop policies, which from CPython 3.14 on warn of their end where they are used by their
// public names.
#pragma once

#include "plugin/python/py_ref.h"

namespace python {

// Each throws PyError.
PyRef default_event_loop_policy_type();
PyRef event_loop_policy();
void set_event_loop_policy(PyObject* policy);

}  // namespace python
