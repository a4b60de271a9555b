// Wakes the loop for Python's signal handlers.
#pragma once

#include "plugin/loop/io_loop.h"

namespace python {

// signal.set_wakeup_fd(fd, warn_on_full_buffer=False). Returns the one before: -1 for none,
// also when CPython would not take it, as from another thread than the main one.
int set_wakeup_fd(int fd) noexcept;

// CPython notes a signal and runs its handler when the main thread next looks, which a loop
// asleep in its poll does not. It also writes a byte to a wake-up descriptor: this one.
// Left alone when the application has set a descriptor of its own.
class SignalPipe {
 public:
  explicit SignalPipe(loop::IoLoop& loop) noexcept;
  ~SignalPipe();
  SignalPipe(const SignalPipe&) = delete;
  SignalPipe& operator=(const SignalPipe&) = delete;

 private:
  void on_byte(int) noexcept;

  int ends_[2] = {-1, -1};
  bool ours_ = false;
  loop::IoWatcher<SignalPipe, &SignalPipe::on_byte> readable_;
};

}  // namespace python
