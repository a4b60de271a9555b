// The exceptions of fetch() and fetch_async().
#pragma once

#include <Python.h>

#include <stdexcept>
#include <string>

#include "plugin/http/transfer.h"
#include "plugin/python/py_ref.h"

namespace python {

// The code of an error without a response; Tornado's.
constexpr int kNoResponse = 599;

// Borrowed. Made on the first call. Throws PyError.
PyObject* http_error_type();
PyObject* http_timeout_error_type();

// An exception. `response` may be null.
PyRef make_http_error(PyObject* type, int code, const std::string& message, PyObject* response,
                      int curl_code);

// The exception for a transfer that has failed. `response` may be null.
PyRef error_of(const http::Transfer& transfer, PyObject* response);

[[noreturn]] void raise_exception(const PyRef& exception);

// Like py_boundary(); also turns libcurl's refusals into ValueError.
template <typename Body>
PyObject* fetch_boundary(Body body) noexcept {
  return py_boundary([&]() -> PyRef {
    try {
      return body();
    } catch (const std::invalid_argument& refusal) {
      raise(PyExc_ValueError, refusal.what());
    }
  });
}

}  // namespace python
