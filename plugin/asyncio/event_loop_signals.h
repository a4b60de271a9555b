// Signals that arrive while an event loop sleeps.
#pragma once

#include <vector>

#include "plugin/loop/io_loop.h"
#include "plugin/loop/watcher.h"

namespace python {

class EventLoop;

// CPython's signal handler writes each signal's number to the process's wake-up descriptor. While a loop runs
// on the main thread it provides that descriptor, so it wakes, Python's handlers run, and
// add_signal_handler() gets the numbers. A descriptor that the application has set is left alone.
class SignalWakeup {
 public:
  SignalWakeup(EventLoop& owner, loop::IoLoop& io) noexcept;
  ~SignalWakeup();
  SignalWakeup(const SignalWakeup&) = delete;
  SignalWakeup& operator=(const SignalWakeup&) = delete;

  // The descriptor that signals are written to, opened on the first call. Throws PyError.
  int descriptor();
  // Passes the numbers received to asyncio's _handle_signal(). Throws PyError.
  void handle_signals();
  // Called when the loop begins to run, on the main thread or another. Throws PyError.
  void run_begins();
  void run_ends() noexcept;
  // asyncio may have dropped the process's descriptor with the last handler: a loop that runs takes it back.
  void handlers_changed() noexcept;
  // In a forked child, whose signals are not the parent's. Calls no Python code.
  void after_fork() noexcept;

 private:
  void take();
  void on_byte(int) noexcept;
  bool has_handlers() noexcept;

  EventLoop& owner_;
  int ends_[2] = {-1, -1};
  bool running_ = false;  // On the main thread.
  std::vector<unsigned char> numbers_;
  loop::IoWatcher<SignalWakeup, &SignalWakeup::on_byte> readable_;
};

}  // namespace python
