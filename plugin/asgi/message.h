// ASGI's messages, which are dicts.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugin/python/py_ref.h"

namespace asgi {

// An interned string that is never freed. Throws PyError.
PyObject* name(const char* text);

// An interned string, made when this place of the code first runs.
#define ASGI_NAME(text)                             \
  ([]() -> PyObject* {                              \
    static PyObject* const made = asgi::name(text); \
    return made;                                    \
  }())

void set(const python::PyRef& dict, PyObject* key, PyObject* value);
void set(const python::PyRef& dict, PyObject* key, const python::PyRef& value);
python::PyRef bytes(std::string_view text);

// --- Messages of the application -------------------------------------------------------------

// The value of `key`, or null. Borrowed. Throws PyError.
PyObject* get(PyObject* message, PyObject* key);
// The type of a message. Throws PyError if it is not a message.
std::string_view type_of(PyObject* message);
bool flag(PyObject* message, PyObject* key, bool otherwise);
// The value of `key`, bytes or another object with a buffer; empty bytes if it is missing. Throws PyError.
python::PyRef body_of(PyObject* message, PyObject* key);

// Raises RuntimeError for a message that is out of order.
[[noreturn]] void raise_unexpected(std::string_view type, const char* why);

struct Header {
  std::string name;
  std::string value;
};

// The pairs of `key`, with names in lower case. Throws PyError unless each name is an HTTP token and each
// value is free of line ends and NUL, so that a header cannot inject another one.
std::vector<Header> headers_of(PyObject* message, PyObject* key);
void check_header(std::string_view name, std::string_view value);

bool equal_ignoring_case(std::string_view text, std::string_view lower_case) noexcept;

}  // namespace asgi
