// Names of headers, made from the names of uWSGI's variables.
#pragma once

#include <string_view>

#include "plugin/python/py_ref.h"

namespace engine {

// Turns HTTP_ACCEPT_ENCODING into "Accept-Encoding", and CONTENT_TYPE and CONTENT_LENGTH likewise. Returns
// null for a variable that is not a header. Needs the GIL. Throws PyError.
python::PyRef header_name(std::string_view variable);

}  // namespace engine
