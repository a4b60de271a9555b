// The websocket functions of the module uwsgi.
#pragma once

namespace engine {

// Puts them into the module, over uWSGI's own of the same names. With the GIL held, before the
// applications are imported. Throws PyError.
void install_websocket_functions();

}  // namespace engine
