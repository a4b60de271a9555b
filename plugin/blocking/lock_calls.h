// Semaphores: what every lock, condition, event, queue and future of Python is made of.
#pragma once

namespace blocking {

// Fibers that wait for a semaphore now, for tests and reports.
int fibers_waiting_for_locks() noexcept;

}  // namespace blocking
