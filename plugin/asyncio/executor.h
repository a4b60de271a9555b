// Executors with virtual threads: a function that an asynchronous application hands to a thread of a pool may
// wait as a request may.
#pragma once

namespace python {

// From now on run_in_executor(None, ...) of the worker's loop, and with it asyncio.to_thread(), asgiref's
// sync_to_async() and anyio's to_thread.run_sync(), run their functions on virtual threads. Executors that an
// application makes itself are left alone. Once, with the GIL held. Throws PyError.
void use_virtual_executors();

// In the worker, once its loop runs. Throws PyError.
void install_default_executor();

// Ends the virtual threads of executors that wait for work. Failures are logged. With the GIL held, on the
// loop's own stack.
void end_idle_executor_threads() noexcept;

}  // namespace python
