// The arguments of fetch() and fetch_async().
#pragma once

#include <Python.h>

#include "plugin/http/request.h"
#include "plugin/python/py_ref.h"

namespace python {

struct FetchCall {
  http::Request request;
  PyRef body_chunks;        // An iterator of the body's chunks, or null.
  PyRef body_async_chunks;  // An async iterable of them, or null.
  bool raise_error = true;
  bool while_connected = false;
};

// From (url, *, name=value...). `function` is named in errors. Throws PyError.
FetchCall parse_fetch(const char* function, PyObject* args, PyObject* kwargs);

// Calls take(data, size) with the bytes of a chunk of the body: bytes or str. Throws PyError.
template <typename Take>
void with_bytes(PyObject* chunk, Take take) {
  if (PyUnicode_Check(chunk)) {
    Py_ssize_t size;
    const char* const text = PyUnicode_AsUTF8AndSize(chunk, &size);
    if (text == nullptr) throw PyError{};
    take(text, static_cast<std::size_t>(size));
    return;
  }
  Py_buffer view;
  py_check_status(PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE));
  struct Release {
    Py_buffer& view;
    ~Release() { PyBuffer_Release(&view); }
  } const release{view};
  take(static_cast<const char*>(view.buf), static_cast<std::size_t>(view.len));
}

}  // namespace python
