// ASGI's messages: dicts with the names of its specification.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugin/python/py_ref.h"

namespace asgi {

// Interned, for the process's life. Throws PyError.
PyObject* name(const char* text);

// An interned string that is made as it is first used, at one place of the code.
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
// The type of a message. Throws PyError where it is no message.
std::string_view type_of(PyObject* message);
bool flag(PyObject* message, PyObject* key, bool otherwise);
// bytes, or what has a buffer of them; empty bytes where the key is missing. Throws PyError.
python::PyRef body_of(PyObject* message, PyObject* key);

// Raises RuntimeError: a message that is not expected in this state.
[[noreturn]] void raise_unexpected(std::string_view type, const char* why);

struct Header {
  std::string name;
  std::string value;
};

// The pairs of `key`, with names in lower case, checked: a name is a token of HTTP, and a value has no line
// ends and no NUL, so that nothing but the header comes of it. Throws PyError.
std::vector<Header> headers_of(PyObject* message, PyObject* key);
void check_header(std::string_view name, std::string_view value);

bool equal_ignoring_case(std::string_view text, std::string_view lower_case) noexcept;

}  // namespace asgi
