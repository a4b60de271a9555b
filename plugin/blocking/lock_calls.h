// Semaphores: what every lock, condition, event, queue and future of Python is made of.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> lock_calls();

// Fibers that wait for a semaphore now, for tests and reports.
int fibers_waiting_for_locks() noexcept;

}  // namespace blocking
