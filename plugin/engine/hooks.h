// The functions uWSGI calls when a request must wait.
#pragma once

namespace engine {

// Points every hook of uWSGI's core at the engine of this worker.
void install_hooks() noexcept;

}  // namespace engine
