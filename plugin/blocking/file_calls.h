// Calls that wait for locks on files and for the disk: flock, fcntl, lockf, fsync.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> file_calls();

}  // namespace blocking
