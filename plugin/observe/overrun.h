// An overrun stack kills the worker. This writes the report first.
#pragma once

namespace engine {

// In the worker, on the loop's thread: logs a fault in the guard of a fiber's or greenlet's stack, with the
// request and its Python stack, before the signal ends the process as it would have. Other faults go to the
// handler that was there before.
void report_overruns() noexcept;

}  // namespace engine
