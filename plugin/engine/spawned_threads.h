// Virtual threads that serve no request: handlers of uWSGI signals, functions of spawn().
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

// Each runs with a request of its own to stand on, nobody's: no socket, no core, only something
// for uwsgi.* functions to act on. It ends with its function, as a thread does.
class SpawnedThreads final : public python::Spawner {
 public:
  explicit SpawnedThreads(Engine& engine) noexcept;
  ~SpawnedThreads();
  SpawnedThreads(const SpawnedThreads&) = delete;
  SpawnedThreads& operator=(const SpawnedThreads&) = delete;

  // Calls run(argument) on one of them; it may wait. Called by a request it begins in the next turn, or once
  // there is memory for it; else at once. Throws std::bad_alloc.
  void spawn(void (*run)(void*) noexcept, void* argument) override;
  void set_idle(bool idle) noexcept override;

  // The one that stands on `request`, or null.
  RequestThread* thread_of(const wsgi_request* request) noexcept;

  // Those that have begun and not ended, without the idle ones.
  std::vector<RequestThread*> all_running() const;
  // Those that have not ended, or are to begin.
  int running() const noexcept { return running_; }
  // Of these, the ones that wait for work only.
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
  std::unordered_map<const wsgi_request*, std::unique_ptr<Thread>> threads_;  // By what each stands on.
  std::deque<Order> ordered_;
  bool looks_ = false;  // begin_ordered() is going to be called.
  loop::TimerWatcher<SpawnedThreads, &SpawnedThreads::begin_ordered> retry_;
  int running_ = 0;
  int idle_ = 0;
};

}  // namespace engine
