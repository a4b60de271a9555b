// Where requests' time went (RequestTimes), told: to log formats, and to clients.
#pragma once

#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// As the plugin is loaded: %(tornado_queued), _ran, _waited (ms) and _waited_for in --log-format.
void register_log_variables() noexcept;

// Server-Timing in each response of `socket`.
void add_server_timing(uwsgi_socket& socket) noexcept;

}  // namespace engine
