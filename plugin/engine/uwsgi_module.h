// What the engine puts into Python's module uwsgi, before the applications are loaded, which may take it out.
// With the GIL held.
#pragma once

namespace engine {

// In place of the functions that stop the process in uWSGI itself: in a request these suspend it, elsewhere
// they are uWSGI's.
void replace_functions_of_uwsgi() noexcept;

// The websocket functions, over uWSGI's own of the same names. Throws PyError.
void install_websocket_functions();

}  // namespace engine
