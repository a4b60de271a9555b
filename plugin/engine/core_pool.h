// The cores of one worker, and which of them are available.
#pragma once

#include <list>
#include <memory>
#include <vector>

#include "plugin/engine/core.h"
#include "plugin/engine/log_throttle.h"
#include "plugin/engine/worker_loads.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// Each core is free, or runs a request, or has a connection without a request to run. The pool knows which of
// the latter may be closed to free their core. The loop's thread only.
class CorePool {
 public:
  CorePool() = default;
  CorePool(const CorePool&) = delete;
  CorePool& operator=(const CorePool&) = delete;

  // The core of uWSGI's slot that has its place in the order of calls. Throws std::bad_alloc.
  void add(std::unique_ptr<Core> core) { cores_.push_back(std::move(core)); }
  const std::vector<std::unique_ptr<Core>>& all() const noexcept { return cores_; }
  Core& of(const wsgi_request* request) const noexcept {
    return *cores_[static_cast<std::size_t>(request->async_id)];
  }

  static int taken() noexcept { return uwsgi.async - 1 - uwsgi.async_queue_unused_ptr; }
  // True if there is a free core, or a connection that may be closed to free one.
  bool has_room() const noexcept;
  // Takes one. Null if every core is taken; the second closes a connection to free its core.
  Core* take_free() noexcept;
  Core* make_room() noexcept;
  // The same, only of connections that wait for their next request.
  Core* take_idle() noexcept;
  void give_back(Core& core) noexcept;
  // The seconds until a connection has stalled long enough to be closed for its core.
  double connection_stalled_in_s() const noexcept;

  // Connections that have a core and no request to run, the longest so first: they wait for their
  // next request, or part of one has come, or nothing yet.
  using Connections = std::list<Core*>;
  Connections& idle() noexcept { return idle_; }
  Connections& incomplete(bool begun) noexcept { return begun ? slow_header_ : no_bytes_; }

  // What this worker publishes to the other workers, and reads of theirs.
  WorkerLoads& loads() noexcept { return loads_; }
  // The worker accepts no more connections.
  void leave() noexcept;

 private:
  double slow_header_in_s() const noexcept;
  double no_bytes_in_s() const noexcept;
  void publish_load() noexcept;
  Core* take_stalled() noexcept;

  std::vector<std::unique_ptr<Core>> cores_;
  WorkerLoads loads_;
  bool left_ = false;
  Connections idle_;
  Connections slow_header_;  // Part of a request has come.
  Connections no_bytes_;     // Nothing has come.
  LogThrottle stalled_closed_;
};

}  // namespace engine
