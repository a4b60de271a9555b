// Virtual threads without a request: handlers of uWSGI signals and functions of spawn().
#pragma once

#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "plugin/asyncio/spawn.h"
#include "plugin/loop/watcher.h"
#include "plugin/request/request_thread.h"

namespace engine {

class Engine;

// Each has an empty wsgi_request of its own, without socket or core, because the functions of the uwsgi
// module need one. It ends when its function returns, as a thread does.
class SpawnedThreads final : public python::Spawner {
 public:
  explicit SpawnedThreads(Engine& engine) noexcept;
  ~SpawnedThreads();
  SpawnedThreads(const SpawnedThreads&) = delete;
  SpawnedThreads& operator=(const SpawnedThreads&) = delete;

  // Calls run(argument), which may wait, on a new virtual thread. It begins at once or, if the caller is a
  // request, in the next turn or as soon as there is memory for it. Throws std::bad_alloc.
  void spawn(void (*run)(void*) noexcept, void* argument) override;
  void set_idle(bool idle) noexcept override;

  // The thread that owns `request`, or null.
  RequestThread* thread_of(const wsgi_request* request) noexcept;

  // The threads that have begun and not ended, without the idle ones.
  std::vector<RequestThread*> all_running() const;
  // How many have not ended, including those that are about to begin.
  int running() const noexcept { return running_; }
  // How many of these are only waiting for work.
  int idle() const noexcept { return idle_; }

 private:
  struct Thread;
  struct Order {
    void (*run)(void*) noexcept;
    void* argument;
  };

  void begin(Order order);
  void begin_ordered() noexcept;
  void end(Thread& thread) noexcept;

  Engine& engine_;
  std::unordered_map<const wsgi_request*, std::unique_ptr<Thread>> threads_;  // By their requests.
  std::deque<Order> ordered_;
  bool looks_ = false;  // begin_ordered() is scheduled.
  loop::TimerWatcher<SpawnedThreads, &SpawnedThreads::begin_ordered> retry_;
  int running_ = 0;
  int idle_ = 0;
};

}  // namespace engine
