// The head of a response, as uWSGI is given it.
#pragma once

#include <string_view>
#include <vector>

#include "plugin/asgi/message.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace asgi {

// The status of a message that starts a response. Throws PyError.
int status_of(PyObject* message);
// Has uWSGI write it with what comes next. On the fiber. False when it refuses. Throws PyError.
bool prepare_head(wsgi_request& request, int status, const std::vector<Header>& headers);

std::string_view view_of(const python::PyRef& bytes) noexcept;

}  // namespace asgi
