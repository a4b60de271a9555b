// The stack and the thread state that a greenlet runs on.
#pragma once

#include <Python.h>

#include <cstddef>

#include "suspend/coroutine.h"
#include "suspend/thread_pointer.h"

namespace python {

// Kept for the next greenlet, so that a greenlet costs no system call. All members need the
// GIL.
class GreenletStack {
 public:
  // An idle one, for the running Python thread. Throws std::bad_alloc.
  static GreenletStack* take();
  // Gives it back for others. REQUIRES: idle, and its state is not the running one.
  static void give_back(GreenletStack* stack) noexcept;
  // Ends the idle ones. On the OS thread that used them.
  static void end_idle() noexcept;

  static void set_size(std::size_t bytes) noexcept { size_ = bytes; }

  // In a forked child: CPython has freed every thread state except the running one, so the idle ones are
  // useless. Greenlets that were on others compare the generation.
  static void forget_in_child() noexcept;
  static unsigned generation() noexcept { return generation_; }

  suspend::Coroutine& coroutine() noexcept { return coroutine_; }
  PyThreadState* state() const noexcept { return state_; }

 private:
  GreenletStack();
  ~GreenletStack();

  suspend::Coroutine coroutine_;
  PyThreadState* const state_;
  const suspend::ThreadPointer os_thread_;

  static inline std::size_t size_ = 4u << 20;
  static inline unsigned generation_ = 0;
};

}  // namespace python
