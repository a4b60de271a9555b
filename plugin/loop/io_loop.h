// The IOLoop: one libev loop, run by one thread.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "plugin/loop/io_registration.h"
#include "plugin/loop/libev.h"
#include "plugin/loop/ready_queue.h"
#include "plugin/loop/watcher.h"

namespace loop {

// What a layer above does around each turn; it hands the GIL over here.
class TurnObserver {
 public:
  // Once a turn, before its callbacks.
  virtual void turning() noexcept = 0;
  // Around a poll that may sleep. Do not touch the loop in between.
  virtual void falling_asleep() noexcept = 0;
  virtual void awake() noexcept = 0;

 protected:
  ~TurnObserver() = default;
};

// All members are for the loop's thread, except add_callback_threadsafe() and raw().
class IoLoop {
 public:
  // Throws std::runtime_error when the kernel gives no epoll descriptor.
  IoLoop();
  ~IoLoop();
  IoLoop(const IoLoop&) = delete;
  IoLoop& operator=(const IoLoop&) = delete;

  // Turns until stop().
  void run() noexcept;
  // Ends run() after the current turn.
  void stop() noexcept { stopping_ = true; }

  // One iteration: callbacks, due timeouts, poll, events. May be called from
  // inside a callback, when something must be waited for on the loop's own stack.
  void turn() noexcept;

  // The second half of a turn: poll, due timeouts, events. For a layer above that keeps callbacks
  // of its own and runs them itself; `may_sleep` says that it has none. Callbacks added here wait
  // for turn().
  void poll(bool may_sleep) noexcept;

  // In a forked child that continues to use the loop: makes its descriptors anew.
  void after_fork() noexcept {
    registrations_.check_all_again();
    libev.loop_fork(loop_.get());
  }

  // Calls back in the next turn.
  void add_callback(Callback callback) { ready_.push(callback); }
  // Calls back once nothing else waits: one such callback a turn, first in, first out. Even if the loop is
  // busy, it waits only a few turns.
  void add_idle_callback(Callback callback) { idle_.push_back(callback); }
  // Idle callbacks wait until the next turn. If every turn asks for it, one of them runs every 16 turns.
  void postpone_idle_callbacks() noexcept { idle_postponed_ = true; }
  // The same as add_callback() from any thread; wakes the loop.
  void add_callback_threadsafe(Callback callback);

  bool has_callbacks() const noexcept { return !ready_.empty(); }

  // `observer` may be null and outlives the loop. Returns the one before.
  TurnObserver* observe(TurnObserver* observer) noexcept { return std::exchange(observer_, observer); }

  // Data of which a layer above has one for each loop, found again by its type. It is destroyed before the
  // loop.
  class Part {
   public:
    virtual ~Part() = default;
  };
  template <typename T>
  T* part() const noexcept {
    for (const auto& part : parts_) {
      if (auto* found = dynamic_cast<T*>(part.get())) return found;
    }
    return nullptr;
  }
  void keep(std::unique_ptr<Part> part) { parts_.push_back(std::move(part)); }
  void drop(const Part& part) noexcept;

  // For watchers.
  struct ev_loop* raw() const noexcept {
    return loop_.get();
  }
  IoRegistrations& registrations() noexcept { return registrations_; }

 private:
  struct Destroy {
    void operator()(struct ev_loop* loop) const noexcept { libev.loop_destroy(loop); }
  };

  void run_one_idle_callback() noexcept;
  void take_posted() noexcept;
  static void on_release(struct ev_loop* loop) noexcept;
  static void on_acquire(struct ev_loop* loop) noexcept;

  std::unique_ptr<struct ev_loop, Destroy> loop_;
  IoRegistrations registrations_;
  ReadyQueue ready_;
  std::deque<Callback> idle_;
  int turns_idle_waited_ = 0;
  bool idle_postponed_ = false;
  TurnObserver* observer_ = nullptr;
  bool stopping_ = false;
  bool may_sleep_ = false;

  std::mutex posted_mutex_;
  std::vector<Callback> posted_;
  AsyncWatcher<IoLoop, &IoLoop::take_posted> posted_watcher_;

  std::vector<std::unique_ptr<Part>> parts_;
};

}  // namespace loop
