// The waits of fibers, linked by descriptor.
#pragma once

#include <atomic>
#include <cassert>
#include <vector>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/wait.h"
#include "plugin/loop/watcher.h"
#include "suspend/waiting.h"

namespace blocking {

// The wait of one fiber for some descriptors and a deadline. Ends once; the fiber goes on
// from the loop.
class Wait final : public suspend::Waiting {
 public:
  // `what` and `fd` as for Waiting.
  Wait(suspend::Fiber& fiber, const char* what, int fd) noexcept
      : Waiting(fiber, what, fd), timer_(gate_loop().raw(), this) {}
  ~Wait() { assert(!pending_); }
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;

  void end() noexcept {
    if (!pending_) fiber().resume();
  }
  // Ends the wait from the loop instead of here and now.
  void end_soon() noexcept;

  // Ready, timed out or interrupted.
  Woken park_until(Deadline deadline) noexcept;

 private:
  void on_due() noexcept {
    timed_out_ = !pending_;
    end();
  }
  void end_early() noexcept override { end(); }

  loop::TimerWatcher<Wait, &Wait::on_due> timer_;
  bool timed_out_ = false;
  bool pending_ = false;
};

// One descriptor of a Wait. Linked by descriptor, so that a close finds who waits. Made and
// destroyed on the loop's thread; closes come from any.
class Watched {
 public:
  // `events` of libev's; 0 to hear only of its closing.
  Watched(Wait& wait, int fd, int events);
  ~Watched() { detach(); }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

  // The descriptor was closed since. Its number may mean another file by now.
  bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }

  // Tells all who wait for `fd` now that it is being closed. Any thread; one load when
  // nobody waits for any descriptor.
  static void mark_closed(int fd) noexcept;
  // The descriptors from `first` to `last` that somebody waits for, in order. Any thread.
  static std::vector<int> watched_between(unsigned int first, unsigned int last);
  // Ends, from the loop, the waits of all who wait for `fd` now. The loop's thread.
  static void wake_all(int fd) noexcept;
  // Runs act(fd) unless somebody waits for `fd`; nobody can begin to meanwhile. Any thread.
  static bool unless_watched(int fd, void (*act)(int fd) noexcept) noexcept;

 private:
  struct Lists;
  static Lists& lists() noexcept;

  void on_ready(int) noexcept { wait_.end(); }
  void detach() noexcept;

  Wait& wait_;
  const int fd_;
  loop::IoWatcher<Watched, &Watched::on_ready> io_;
  std::atomic<bool> closed_{false};
  Watched* next_ = nullptr;
  Watched** link_ = nullptr;  // What points at this one; null when it is in no list.
};

}  // namespace blocking
