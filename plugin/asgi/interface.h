// ASGI applications, as uWSGI's python plugin has them served.
#pragma once

struct uwsgi_app;

namespace asgi {

// Before applications are loaded.
void serve_asgi();

bool is_asgi(const uwsgi_app& application) noexcept;

}  // namespace asgi
