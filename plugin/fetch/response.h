// uwsgi_tornado.Response: the result of a fetch, complete or as a stream.
#pragma once

#include <Python.h>

#include <memory>

#include "plugin/http/transfer.h"
#include "plugin/python/py_ref.h"

namespace python {

// Borrowed. Throws PyError.
PyObject* response_type();

// Of a transfer with a head; its body is what has come, and is taken. Throws PyError.
PyRef make_response(http::Transfer& transfer);

// The same, and the rest of the body is iterated over; in a request plainly, in async code with
// `async for`. `loop` is the asyncio event loop. Throws PyError.
PyRef make_streamed_response(std::unique_ptr<http::Transfer> transfer, PyObject* loop);

// The error of a response whose status is one (400 and up), or nothing. Throws PyError.
PyRef status_error(PyObject* response);

}  // namespace python
