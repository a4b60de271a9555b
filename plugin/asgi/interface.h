// ASGI applications, as uWSGI's python plugin has them served.
#pragma once

namespace asgi {

// Before applications are loaded.
void serve_asgi();

}  // namespace asgi
