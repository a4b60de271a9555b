// Makes the scope of a connection.
#pragma once

#include <string_view>

#include "plugin/python/py_ref.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace asgi {

// A prototype of a scope: the keys of both types, http and websocket, with the values of most requests. The
// caller adds the keys of its own type. Throws PyError.
python::PyRef usual_scope(const char* type, const char* scheme);
// A copy of the prototype `usual` with the values of `request`. `state` is the lifespan's, or null. Throws
// PyError.
python::PyRef make_scope(wsgi_request& request, PyObject* usual, PyObject* state);

// The value of a uWSGI variable; empty if there is none.
std::string_view variable(wsgi_request& request, std::string_view name) noexcept;
// The variables that every request is asked for, found in one pass. data() is null if a variable is missing.
struct Asked {
  std::string_view upgrade;
  std::string_view connection;
  std::string_view transfer_encoding;
  std::string_view expect;
};
Asked asked_of(const wsgi_request& request) noexcept;

// Whether the connection speaks HTTP, so that the response must be framed here, not by a server in front.
bool speaks_http(const wsgi_request& request) noexcept;
bool is_http_1_1(const wsgi_request& request) noexcept;
bool is_secure(const wsgi_request& request) noexcept;

}  // namespace asgi
