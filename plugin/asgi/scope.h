// What a connection is, as an application is told of it.
#pragma once

#include <string_view>

#include "plugin/python/py_ref.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace asgi {

// The keys that scopes of both kinds have, with what most requests have for them, to be copied. The caller
// adds its own. Throws PyError.
python::PyRef usual_scope(const char* type, const char* scheme);
// Such a scope, as `request` has it; `state` is the application's own, or null. Throws PyError.
python::PyRef make_scope(wsgi_request& request, PyObject* usual, PyObject* state);

// The value of a variable of uWSGI's; empty where there is none.
std::string_view variable(wsgi_request& request, std::string_view name) noexcept;
// The values of those that each request is asked for, found in one pass; without data where there is none.
struct Asked {
  std::string_view upgrade;
  std::string_view connection;
  std::string_view transfer_encoding;
  std::string_view expect;
};
Asked asked_of(const wsgi_request& request) noexcept;

// The client reads what is written here: no other server stands between that would frame it anew.
bool speaks_http(const wsgi_request& request) noexcept;
bool is_http_1_1(const wsgi_request& request) noexcept;
bool is_secure(const wsgi_request& request) noexcept;

}  // namespace asgi
