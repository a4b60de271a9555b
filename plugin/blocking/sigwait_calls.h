// Calls that wait for signals.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> sigwait_calls();

}  // namespace blocking
