// The waits of fibers for descriptors.
#pragma once

#include <cassert>

#include "plugin/blocking/close_listener.h"
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

// One descriptor of a Wait. The loop's thread only.
class Watched final : public CloseListener {
 public:
  // `events` of libev's; 0 to hear only of its closing.
  Watched(Wait& wait, int fd, int events) : wait_(wait), io_(gate_loop().raw(), this) {
    listen(fd);
    if (events != 0) io_.start(fd, events);
  }

 private:
  void on_ready(int) noexcept { wait_.end(); }
  void let_go() noexcept override {
    io_.stop();
    wait_.end_soon();
  }

  Wait& wait_;
  loop::IoWatcher<Watched, &Watched::on_ready> io_;
};

}  // namespace blocking
