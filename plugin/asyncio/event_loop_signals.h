// Signals that arrive while an event loop sleeps.
#pragma once

#include <vector>

#include "plugin/loop/io_loop.h"
#include "plugin/loop/watcher.h"

namespace python {

class EventLoop;

// CPython's signal handler writes the number of each signal to its wake-up descriptor. With
// this one there, a loop that sleeps wakes, so that Ctrl-C ends it, and add_signal_handler() gets
// its numbers. A descriptor that somebody else has set is left alone.
class SignalWakeup {
 public:
  SignalWakeup(EventLoop& owner, loop::IoLoop& io) noexcept;
  ~SignalWakeup();
  SignalWakeup(const SignalWakeup&) = delete;
  SignalWakeup& operator=(const SignalWakeup&) = delete;

  // What signals are written to; opened on the first call. Throws PyError.
  int descriptor();
  // Hands the numbers that came to asyncio's _handle_signal(). Throws PyError.
  void handle_signals();
  // Round a run of the loop on the main thread.
  void run_begins();
  void run_ends() noexcept;

 private:
  void on_byte(int) noexcept;
  bool has_handlers() noexcept;

  EventLoop& owner_;
  int ends_[2] = {-1, -1};
  bool ours_ = false;  // CPython writes to it since run_begins().
  std::vector<unsigned char> numbers_;
  loop::IoWatcher<SignalWakeup, &SignalWakeup::on_byte> readable_;
};

}  // namespace python
