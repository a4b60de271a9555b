// Virtual threads that serve no request: handlers of uWSGI signals, functions of spawn().
#pragma once

#include <memory>
#include <vector>

#include "plugin/asyncio/await.h"
#include "plugin/request/request_thread.h"

namespace engine {

class Engine;

// Each runs with a request of its own to stand on, nobody's: no socket, no core, only something
// for uwsgi.* functions to act on. They are kept for the next.
class SideThreads final : public python::Spawner {
 public:
  explicit SideThreads(Engine& engine) noexcept;
  ~SideThreads();
  SideThreads(const SideThreads&) = delete;
  SideThreads& operator=(const SideThreads&) = delete;

  // Calls run(argument) on one of them; it may wait. Called by a request it begins in the next
  // turn, else at once. Throws std::bad_alloc.
  void spawn(void (*run)(void*) noexcept, void* argument) override;

  // The one that stands on `request`, or null.
  RequestThread* thread_of(const wsgi_request* request) noexcept;

  // Those that have begun and not ended.
  std::vector<RequestThread*> all_running() const;
  // Those that have not ended.
  int running() const noexcept { return running_; }

 private:
  struct Thread;

  Thread& take();

  Engine& engine_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Thread*> free_;
  int running_ = 0;
};

}  // namespace engine
