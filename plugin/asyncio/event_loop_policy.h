// Ways for a program to use the event loop.
#pragma once

#include <Python.h>

namespace python {

// The type uwsgi_tornado.EventLoopPolicy, made on the first call. Throws PyError.
PyObject* event_loop_policy_type();

// uwsgi_tornado.run(main, *, debug=None).
PyObject* run(PyObject* module, PyObject* args, PyObject* kwargs) noexcept;
extern const char kRunDoc[];

}  // namespace python
