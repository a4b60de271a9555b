// Condition variables of C libraries: whoever waits for one is suspended.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> condition_calls();

}  // namespace blocking
