// Calls that wait for descriptors.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

// poll, select, epoll_wait and their kin.
std::vector<Call> poll_calls();
// recv, send and their kin.
std::vector<Call> socket_calls();
// read, write and their kin, which are called for files too.
std::vector<Call> stream_calls();
// splice and its kin.
std::vector<Call> splice_calls();
// connect and accept.
std::vector<Call> connection_calls();
// close, dup2 and their kin, which wake those who wait for what they close.
std::vector<Call> closing_calls();

}  // namespace blocking
