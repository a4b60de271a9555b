// Serves Tornado's applications on uWSGI's sockets.
#pragma once

namespace engine {

// Registers Tornado's applications (any HTTPServerConnectionDelegate) as an interface. Call it before
// applications are loaded.
void serve_tornado_applications();

}  // namespace engine
