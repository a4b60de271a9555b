// asyncio's event loop policies, and the loop that each thread was given. From CPython 3.14 on, the public
// names of policies warn that policies will be removed.
#pragma once

#include "plugin/python/py_ref.h"

namespace python {

// Each throws PyError.
PyRef default_event_loop_policy_type();
PyRef event_loop_policy();
void set_event_loop_policy(PyObject* policy);

// The loop that set_event_loop() has set for this thread or request. None if there is none, or if this kind
// of policy does not tell.
PyRef loop_set_here(PyObject* policy);
// asyncio.set_event_loop(). Throws PyError.
void set_event_loop(PyObject* loop);

}  // namespace python
