// A fetch whose outcome goes to an asyncio future.
#pragma once

#include <Python.h>

#include "plugin/fetch/arguments.h"
#include "plugin/loop/io_loop.h"
#include "plugin/python/py_ref.h"

namespace python {

// What Python code of ours wants to see meanwhile; any may be null.
struct FetchCallbacks {
  PyObject* header;  // header(line): each line as it came, bytes.
  PyObject* chunk;   // chunk(bytes): the body as it comes; the response's own is empty then.
};

// Begins it, on the asyncio event loop `event_loop` whose IoLoop is `io`. The object is of the type
// uwsgi_tornado.AsyncFetch; it keeps itself until its end. Throws PyError, std::invalid_argument.
PyRef start_async_fetch(PyObject* event_loop, loop::IoLoop& io, FetchCall call,
                        const FetchCallbacks& callbacks);

// The future of it, which gives a Response. Cancelling it ends the transfer.
PyRef future_of_fetch(PyObject* fetch) noexcept;

// Borrowed. Throws PyError.
PyObject* async_fetch_type();

}  // namespace python
