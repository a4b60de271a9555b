// An overrun stack kills the worker. This writes the report first.
#pragma once

namespace engine {

// In the worker, on the loop's thread: has a fault in the guard of a fiber's or greenlet's stack
// named in the log, with the request and its Python stack, before the signal ends the process as
// it would have. Any other fault is left to whoever handled it before.
void report_overruns() noexcept;

}  // namespace engine
