// Signal handlers of CPython's: inside one every call is libc's.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

// A handler runs in the middle of anything, of CPython's handing over of the GIL for one: what it calls
// (a write that wakes the loop, faulthandler's report) must neither suspend nor ask whether it may.
std::vector<Call> signal_calls();

// How often one has run so far, on any thread.
unsigned int signal_handlers_run() noexcept;

// The same for handlers that code of the object which holds `python_code` has set already.
void watch_handlers_set_before(const void* python_code) noexcept;

}  // namespace blocking
