// How a parsed request is delimited, and whether its connection may serve another request
// (keep_alive.h).
#pragma once

#include "plugin/request/keep_alive.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

bool is_head(const wsgi_request& request) noexcept;

// Views of the request.
RequestFraming framing_of(const wsgi_request& request) noexcept;

// For its end: uWSGI's http11 protocol keeps a connection whatever client and response said.
bool may_be_kept_alive(const wsgi_request& request, const RequestFraming& framing) noexcept;

}  // namespace engine
