// The names of header lines, as uWSGI's variables have them.
#pragma once

#include <string_view>

#include "plugin/python/py_ref.h"

namespace engine {

// "Accept-Encoding" of HTTP_ACCEPT_ENCODING, Content-Type and Content-Length of CGI's own; null where the
// variable is no header. With the GIL held. Throws PyError.
python::PyRef header_name(std::string_view variable);

}  // namespace engine
