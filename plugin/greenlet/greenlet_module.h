// The module greenlet.
#pragma once

#include <cstddef>

#include <Python.h>

namespace python {

// Makes `import greenlet` find this module before any package of that name. Its greenlets have stacks of
// `stack_size` bytes. Call before Py_Initialize().
void register_greenlet_module(std::size_t stack_size) noexcept;

}  // namespace python
