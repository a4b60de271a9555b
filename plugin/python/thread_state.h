// One PyThreadState per fiber, all on the loop's OS thread.
#pragma once

#include <Python.h>

#include "plugin/blocking/identity.h"
#include "suspend/fiber.h"

namespace python {

// The thread state of the loop itself, and the switch between it and the fibers'. One per
// worker, made on the loop's thread after the fork, with the GIL held.
class Hub {
 public:
  Hub() noexcept : state_(PyThreadState_Get()) { instance_ = this; }
  ~Hub() { instance_ = nullptr; }
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  // The loop's own state, or that of the greenlet that runs in its place.
  PyThreadState* state() const noexcept { return state_; }
  void set_current_state(PyThreadState* state) noexcept { state_ = state; }

  // The hub of this worker, or null.
  static Hub* instance() noexcept { return instance_; }

 private:
  PyThreadState* state_;

  static inline Hub* instance_ = nullptr;
};

// A fiber's own thread state. To Python the fiber is a thread, with its own thread-locals, exception
// state, recursion count and ident. It lives as long as the fiber, so threading.local data stays with the
// fiber.
class ThreadState {
 public:
  // With the hub's state attached. `fiber` is the thread that it is of. Throws std::bad_alloc.
  ThreadState(const Hub& hub, suspend::Fiber& fiber);
  // With the hub's state attached; finalisers of thread-local data run on it.
  ~ThreadState();
  ThreadState(const ThreadState&) = delete;
  ThreadState& operator=(const ThreadState&) = delete;

  // The fiber's own state, or that of the greenlet that runs in its place.
  PyThreadState* get() const noexcept { return running_; }
  void set_current_state(PyThreadState* state) noexcept { running_ = state; }

  // True while the running fiber holds the GIL.
  bool attached() const noexcept;

 private:
  const Hub& hub_;
  const suspend::Fiber& fiber_;
  const blocking::Identity identity_;
  PyThreadState* const state_;
  PyThreadState* running_;
};

}  // namespace python
