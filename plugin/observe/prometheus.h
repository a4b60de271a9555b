// Metrics of all workers as text for Prometheus, at a path of its own (--tornado-metrics).
#pragma once

#include <string>

#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// If `request` asks for that path, answers it and returns true. Its variables are parsed. On its fiber.
bool answer_metrics(wsgi_request* request) noexcept;

// The text itself, in Prometheus' format 0.0.4. Any thread. Throws std::bad_alloc.
std::string metrics_text();

}  // namespace engine
