// Signal handlers of CPython's: inside one every call is libc's.
#pragma once

namespace blocking {

// How often a handler of signals has run so far, on any thread.
unsigned int signal_handlers_run() noexcept;

// The same for handlers that code of the object which holds `python_code` has set already.
void watch_handlers_set_before(const void* python_code) noexcept;

}  // namespace blocking
