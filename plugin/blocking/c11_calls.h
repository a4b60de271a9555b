// C11's threads (threads.h), which are POSIX's under other names.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> c11_calls();

}  // namespace blocking
