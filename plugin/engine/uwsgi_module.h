// Functions of Python's module uwsgi that stop the process in uWSGI itself.
#pragma once

namespace engine {

// Puts the engine's own in their place: in a request they suspend it, elsewhere they are uWSGI's.
// Before the applications are loaded, which may take them out of the module. With the GIL held.
void replace_functions_of_uwsgi() noexcept;

}  // namespace engine
