// syscall(SYS_futex, ...): locks of Rust, Abseil and the C++ library's atomics.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> futex_calls();

}  // namespace blocking
