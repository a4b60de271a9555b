// Signal handlers of CPython. Inside one, every call is libc's.
#pragma once

namespace blocking {

// How often a handler of signals has run so far, on any thread.
unsigned int signal_handlers_run() noexcept;

// The same for handlers that were set already by code of the object that holds `python_code`.
void watch_handlers_set_before(const void* python_code) noexcept;

}  // namespace blocking
