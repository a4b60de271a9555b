// The engine's functions that uWSGI's core calls.
#pragma once

namespace engine {

// Points every hook of uWSGI's core at the engine of this worker.
void install_hooks() noexcept;

// Puts the engine's operations into uwsgi.lock_ops: a request that finds a lock of uWSGI taken (uwsgi.lock(),
// a shared area, a cache) is suspended until it is free. In a worker.
void install_locks() noexcept;

}  // namespace engine
