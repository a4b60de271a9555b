// The functions that the engine puts into Python's module uwsgi, before the applications are loaded, which
// may import them. With the GIL held.
#pragma once

namespace engine {

// Replaces functions that stop the whole process in uWSGI itself. In a request they suspend it; elsewhere
// they are uWSGI's.
void replace_functions_of_uwsgi() noexcept;

// The websocket functions, over uWSGI's own of the same names. Throws PyError.
void install_websocket_functions();

}  // namespace engine
