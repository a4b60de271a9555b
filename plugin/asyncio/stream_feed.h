// asyncio's streams, fed without their Python code.
#pragma once

#include <Python.h>

#include <cstddef>

#include "plugin/python/py_ref.h"

namespace python {

// Whether `protocol` is exactly asyncio's StreamReaderProtocol, whose methods are asyncio's own: not a class
// derived from it, and nobody has replaced a method of the class or of StreamReader. Throws PyError.
bool is_plain_stream(PyObject* protocol);

// Does what protocol.data_received() would where that is plain: appends the bytes to the reader's buffer, and
// wakes up whoever waits for them, in the next callbacks. False where it has done nothing, as the reader is
// of another kind or would pause the transport. REQUIRES: is_plain_stream(protocol); size > 0. Throws
// PyError.
bool feed_stream(PyObject* protocol, const char* data, std::size_t size);

}  // namespace python
