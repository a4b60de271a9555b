// asyncio's event loop policies, and the loop that each thread was given. From CPython 3.14 on policies warn
// of their end where they are used by their public names.
#pragma once

#include "plugin/python/py_ref.h"

namespace python {

// Each throws PyError.
PyRef default_event_loop_policy_type();
PyRef event_loop_policy();
void set_event_loop_policy(PyObject* policy);

// The loop that this thread, or request, was given by set_event_loop(); None where there is none, and where
// the policy is of a kind that does not tell.
PyRef loop_set_here(PyObject* policy);
// asyncio.set_event_loop(). Throws PyError.
void set_event_loop(PyObject* loop);

}  // namespace python
