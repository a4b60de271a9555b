// Calls that wait for descriptors: poll, select, epoll_wait, recv, send, read, write, connect, accept.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> io_calls();

}  // namespace blocking
