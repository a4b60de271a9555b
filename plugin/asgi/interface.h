// Registers ASGI as an interface of uWSGI's python plugin.
#pragma once

struct uwsgi_app;

namespace asgi {

// Call it before applications are loaded.
void serve_asgi();

bool is_asgi(const uwsgi_app& application) noexcept;

}  // namespace asgi
