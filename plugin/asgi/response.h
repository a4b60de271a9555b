// Passes the head of a response to uWSGI.
#pragma once

#include <string_view>
#include <vector>

#include "plugin/asgi/message.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace asgi {

// The status of an "http.response.start" message. Throws PyError.
int status_of(PyObject* message);
// Gives uWSGI the head, which it writes together with the next bytes. On the fiber. Returns false if uWSGI
// refuses it. Throws PyError.
bool prepare_head(wsgi_request& request, int status, const std::vector<Header>& headers);

std::string_view view_of(const python::PyRef& bytes) noexcept;

}  // namespace asgi
