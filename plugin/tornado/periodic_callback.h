// uwsgi_tornado.PeriodicCallback, which is Tornado's on uwsgi_tornado.IOLoop.
#pragma once

#include <Python.h>

namespace python {

// The type. Throws PyError.
PyObject* periodic_callback_type();

}  // namespace python
