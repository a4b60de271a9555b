// A request of uWSGI's as keep_alive.h judges it.
#pragma once

#include "plugin/request/keep_alive.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// Views of the request.
RequestFraming framing_of(wsgi_request& request) noexcept;

}  // namespace engine
