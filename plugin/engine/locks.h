// uWSGI's locks, taken by requests.
#pragma once

namespace engine {

// Puts the engine's operations in uwsgi.lock_ops: a request that finds a lock of uWSGI's taken
// (uwsgi.lock(), a shared area, a cache) is suspended until it is free. In a worker.
void install_locks() noexcept;

}  // namespace engine
