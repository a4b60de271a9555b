// tornado.web.Application on uWSGI's sockets.
#pragma once

namespace engine {

// Has applications of Tornado's (any HTTPServerConnectionDelegate) served. Before any is loaded.
void serve_tornado_applications();

}  // namespace engine
