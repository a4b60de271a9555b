// Calls that wait for child processes.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

// waitpid, waitid and kin.
std::vector<Call> process_calls();

}  // namespace blocking
