// The private mutexes of C libraries, where requests of one thread contend for them.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> mutex_calls();

}  // namespace blocking
