// uwsgi_tornado.Response: the result of a fetch, complete or as a stream.
#pragma once

#include <Python.h>

#include <memory>

#include "plugin/http/transfer.h"
#include "plugin/python/py_ref.h"

namespace python {

// Borrowed. Throws PyError.
PyObject* response_type();

// Makes one of a transfer that has a head. Takes the part of the body that has arrived. Throws PyError.
PyRef make_response(http::Transfer& transfer);

// The same as a stream: the rest of the body is iterated over, in async code with `async for`. `loop` is the
// asyncio event loop. Throws PyError.
PyRef make_streamed_response(std::unique_ptr<http::Transfer> transfer, PyObject* loop);

// The error for a status of 400 or more, or nothing. Throws PyError.
PyRef status_error(PyObject* response);

}  // namespace python
