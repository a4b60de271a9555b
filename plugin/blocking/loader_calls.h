// Loading of libraries: what is loaded later is redirected too.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> loader_calls();

}  // namespace blocking
