// The module greenlet.
#pragma once

#include <cstddef>

#include <Python.h>

namespace python {

// Makes `import greenlet` find ours, before any package of that name, with greenlets on stacks of
// `stack_size` bytes. Before Py_Initialize().
void register_greenlet_module(std::size_t stack_size) noexcept;

}  // namespace python
