// The Python module uwsgi_tornado.
#pragma once

#include "plugin/python/py_ref.h"

namespace python {

// The module itself: a new reference, or null with an error set. Of a plain extension module the
// functions for workers do nothing, as they do outside a request.
PyObject* create_module() noexcept;

// Makes `import uwsgi_tornado` find the built-in module. Before Py_Initialize().
void register_module() noexcept;

}  // namespace python
