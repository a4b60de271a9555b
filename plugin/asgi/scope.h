// What a connection is, as an application is told of it.
#pragma once

#include <string_view>

#include "plugin/python/py_ref.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace asgi {

// The keys that scopes of both kinds have; `state` is the application's own, or null. Throws PyError.
python::PyRef make_scope(wsgi_request& request, PyObject* state);

// The value of a variable of uWSGI's; empty where there is none.
std::string_view variable(wsgi_request& request, std::string_view name) noexcept;

// The client reads what is written here: no other server stands between that would frame it anew.
bool speaks_http(const wsgi_request& request) noexcept;
bool is_http_1_1(const wsgi_request& request) noexcept;
bool is_secure(const wsgi_request& request) noexcept;

}  // namespace asgi
