// Calls that wait for descriptors.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

// poll, select, epoll_wait and their kin.
std::vector<Call> poll_calls();
// recv, send, read, write and their kin.
std::vector<Call> transfer_calls();
// connect, accept; close and dup2, which wake those who wait for what they close.
std::vector<Call> connection_calls();

}  // namespace blocking
