// Loading of libraries: what is loaded later is redirected too.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

// dlopen() takes the meaning of a name from who calls it: its RUNPATH, its namespace. So the real one is
// jumped to and returns to its caller, not to us. What was loaded is looked at when somebody asks for
// a function of it with dlsym(), or before the thread's next wait.
std::vector<Call> loader_calls();

// This thread has loaded something since it last looked.
inline thread_local bool loaded_here = false;

// Looks at what this thread has loaded.
void look_at_loaded() noexcept;

}  // namespace blocking
