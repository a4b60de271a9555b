// asgiref's async_to_sync() on the worker's event loop.
#pragma once

namespace python {

// From now on asgiref, whether imported already or later, chooses the loop where a function that it wrapped
// is called, and finds the way back to the caller's thread by the context. Throws PyError.
void prepare_asgiref();

// Once asgiref is imported: async_to_sync() in the current request or spawned function runs on the worker's
// loop instead of on a new loop in a new thread. Returns false while asgiref is not imported, so call it
// again. With the GIL held, on the virtual thread's own state.
bool share_loop_with_asgiref() noexcept;

}  // namespace python
