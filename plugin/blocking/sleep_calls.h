// Calls that sleep: nanosleep, clock_nanosleep, usleep, sleep.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> sleep_calls();

}  // namespace blocking
