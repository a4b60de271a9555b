// The one question and the one move that the layer above answers for blocking calls.
#pragma once

#include "plugin/loop/io_loop.h"
#include "suspend/fiber.h"

namespace blocking {

// Says where a blocking call may suspend its fiber. A redirected call may suspend only
// where CPython itself would let another thread run; the layer that knows CPython decides.
class Gate {
 public:
  // The fiber that calls, when it may suspend here; else null: the call blocks as libc's does.
  // Called on any thread.
  virtual suspend::Fiber* may_suspend() noexcept = 0;
  // Suspends the fiber that may_suspend() just gave. What the caller gave up for the call
  // (the GIL) is given up again when this returns.
  virtual void suspend(suspend::Fiber& fiber) noexcept = 0;

 protected:
  ~Gate() = default;
};

// Opens the calls to suspension on this thread's `loop`, or closes them with null.
// While closed every call is libc's. The loop's thread only.
void open_gate(Gate* gate, loop::IoLoop* loop) noexcept;

// Null while closed.
Gate* gate() noexcept;
loop::IoLoop& gate_loop() noexcept;

// True on the thread that opened the gate.
bool on_loop_thread() noexcept;

// The fiber that may suspend here, or null.
inline suspend::Fiber* may_suspend() noexcept {
  Gate* const open = gate();
  return open == nullptr ? nullptr : open->may_suspend();
}

// Suspends `fiber`, the one that runs, until somebody resumes it. errno survives.
void park(suspend::Fiber& fiber) noexcept;

// A callback that resumes `fiber`.
loop::Callback resumes(suspend::Fiber& fiber) noexcept;

}  // namespace blocking
