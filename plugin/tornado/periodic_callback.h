// uwsgi_tornado.PeriodicCallback: Tornado's, on uwsgi_tornado.IOLoop.
#pragma once

#include <Python.h>

namespace python {

// The type. Throws PyError.
PyObject* periodic_callback_type();

}  // namespace python
