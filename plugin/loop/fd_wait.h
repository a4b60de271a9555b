// Waits for one descriptor or a deadline, whichever comes first.
#pragma once

#include "plugin/loop/io_loop.h"
#include "plugin/loop/watcher.h"

namespace loop {

// Calls back once, from the loop, when the wait is over. Owns its watchers:
// leaving scope ends the wait.
class FdWait {
 public:
  FdWait(IoLoop& loop, Callback over) noexcept
      : over_(over), io_(loop.raw(), this), timer_(loop.raw(), this) {}

  // `events`: EV_READ, EV_WRITE or both. A `timeout_s` below 0 waits for ever.
  void start(int fd, int events, double timeout_s) noexcept {
    io_.start(fd, events);
    if (timeout_s >= 0) timer_.start(timeout_s);
  }
  // A deadline alone.
  void start(double timeout_s) noexcept { timer_.start(timeout_s); }

  bool timed_out() const noexcept { return timed_out_; }

 private:
  void on_ready(int) noexcept { end(); }
  void on_due() noexcept {
    timed_out_ = true;
    end();
  }
  void end() noexcept {
    io_.stop();
    timer_.stop();
    over_.function(over_.argument);  // May end this object's life.
  }

  const Callback over_;
  IoWatcher<FdWait, &FdWait::on_ready> io_;
  TimerWatcher<FdWait, &FdWait::on_due> timer_;
  bool timed_out_ = false;
};

}  // namespace loop
