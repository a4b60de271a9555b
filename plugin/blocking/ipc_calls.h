// System V semaphores and messages, POSIX message queues, the kernel's asynchronous input and output.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> ipc_calls();

}  // namespace blocking
