// A fetch whose outcome goes to an asyncio future.
#pragma once

#include <Python.h>

#include "plugin/fetch/arguments.h"
#include "plugin/loop/io_loop.h"
#include "plugin/python/py_ref.h"

namespace python {

// Callbacks of our own Python code; any may be null.
struct FetchCallbacks {
  PyObject* header;  // header(line): each line as it came, bytes.
  PyObject* chunk;   // chunk(bytes): the body as it comes; the response's body is then empty.
};

// Begins a fetch on the asyncio event loop `event_loop`, whose IoLoop is `io`. The object is of the type
// uwsgi_tornado.AsyncFetch, and stays alive until its end. Throws PyError, std::invalid_argument.
PyRef start_async_fetch(PyObject* event_loop, loop::IoLoop& io, FetchCall call,
                        const FetchCallbacks& callbacks);

// Its future, whose result is a Response. Cancelling it ends the transfer.
PyRef future_of_fetch(PyObject* fetch) noexcept;

// Borrowed. Throws PyError.
PyObject* async_fetch_type();

}  // namespace python
