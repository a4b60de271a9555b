// Parts of the engine that are written in Python, inside the plugin.
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace engine {

// Runs `source` in a namespace of its own, a dict, and returns that. `name` is what tracebacks
// and __name__ say. With the GIL held. Throws PyError.
python::PyRef run_embedded(const char* name, const char* source);

}  // namespace engine
