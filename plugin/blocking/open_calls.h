// Opening: a FIFO waits for its other end, a terminal for its line.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> open_calls();

}  // namespace blocking
