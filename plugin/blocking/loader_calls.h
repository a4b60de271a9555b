// Loading of libraries: what is loaded later is redirected too.
#pragma once

namespace blocking {

// This thread has loaded something since it last looked.
inline thread_local bool loaded_here = false;

// Looks at what this thread has loaded.
void look_at_loaded() noexcept;

}  // namespace blocking
