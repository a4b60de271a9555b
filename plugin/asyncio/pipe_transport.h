// The transport of a pipe's reading end.
#pragma once

#include <Python.h>

namespace python {

// A loop's _make_read_pipe_transport(), as a method with keywords: asyncio's transport, where it is a pipe,
// with data that come by way of memory that all such transports share; asyncio's takes 256 KiB for each read.
PyObject* make_read_pipe_transport(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept;

}  // namespace python
