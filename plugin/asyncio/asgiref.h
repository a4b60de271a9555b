// asgiref's async_to_sync() on the worker's event loop.
#pragma once

namespace python {

// From now on asgiref, imported already or yet to be, chooses the loop where a function that it wrapped is
// called, and finds the way back to the caller's thread by the context. Throws PyError.
void prepare_asgiref();

// Once asgiref is imported: async_to_sync() in the present request or spawned function runs on the
// worker's loop instead of on a new loop in a new thread. True when that is so now; false while
// asgiref is not imported, so ask again. With the GIL held, on the virtual thread's own state.
bool share_loop_with_asgiref() noexcept;

}  // namespace python
