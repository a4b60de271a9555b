// asyncio's streams, fed without their Python code.
#pragma once

#include <Python.h>

#include <cstddef>

#include "plugin/python/py_ref.h"

namespace python {

// Whether `protocol` is exactly asyncio's StreamReaderProtocol, whose methods are asyncio's own: not a class
// derived from it, and nobody has replaced a method of the class or of StreamReader. Throws PyError.
bool is_plain_stream(PyObject* protocol);

// A plain stream that is about to be fed.
struct StreamFeed {
  PyRef reader;
  PyRef buffer;  // Of the reader.

  explicit operator bool() const noexcept { return static_cast<bool>(buffer); }
};

// Where protocol.data_received() would put up to `most` bytes. Nothing where it must be called, as the reader
// is of another kind or at its end or might pause its transport, or as somebody has replaced data_received()
// or feed_data() since, also of this object alone. REQUIRES: is_plain_stream(protocol) was true.
StreamFeed stream_feed_of(PyObject* protocol, std::size_t most) noexcept;

// Does what protocol.data_received() would: appends the bytes to the reader's buffer, and wakes up whoever
// waits for them, in the next callbacks. No code of Python runs before the bytes are in the buffer.
// REQUIRES: size > 0. Throws PyError.
void feed_stream(const StreamFeed& feed, const char* data, std::size_t size);

}  // namespace python
