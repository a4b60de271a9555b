// Reports where the time of requests went (RequestTimes), in log formats and to clients.
#pragma once

#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// Adds %(tornado_queued), _ran, _waited (ms) and _waited_for to --log-format, as the plugin is loaded.
void register_log_variables() noexcept;

// Adds Server-Timing to each response of `socket`.
void add_server_timing(uwsgi_socket& socket) noexcept;

}  // namespace engine
