// The Python module uwsgi_tornado.
#pragma once

#include "plugin/python/py_ref.h"

namespace python {

// Makes `import uwsgi_tornado` find the built-in module. Before Py_Initialize().
void register_module() noexcept;

}  // namespace python
