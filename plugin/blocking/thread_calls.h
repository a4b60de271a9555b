// What else threads wait for each other by: read-write locks, barriers, once, the end of a thread.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> thread_calls();

}  // namespace blocking
