// The module greenlet.
#pragma once

#include <cstddef>

#include <Python.h>

namespace python {

// Makes `import greenlet` find ours, before any package of that name, with greenlets on stacks of
// `stack_size` bytes. Before Py_Initialize().
void register_greenlet_module(std::size_t stack_size) noexcept;

// True for ours, of which the greenlet package's C interface cannot be had.
bool is_our_greenlet_module(PyObject* module) noexcept;

}  // namespace python
