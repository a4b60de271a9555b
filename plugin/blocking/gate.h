// Whether a blocking call may suspend. The layer above decides.
#pragma once

#include <atomic>

#include "plugin/blocking/loader_calls.h"
#include "plugin/blocking/tally.h"
#include "plugin/loop/io_loop.h"
#include "suspend/fiber.h"

namespace blocking {

// Decides where a blocking call may suspend its fiber: only where CPython itself would let another thread
// run. The layer that knows CPython implements it.
class Gate {
 public:
  // The calling fiber, if it may suspend here; otherwise null, and the call blocks as libc's does. Called on
  // any thread.
  virtual suspend::Fiber* may_suspend() noexcept = 0;
  // The same, if the thread would otherwise stop for good: even when the caller has kept what it should have
  // released (the GIL). Called on the loop's thread.
  virtual suspend::Fiber* can_suspend() noexcept = 0;
  // Why may_suspend() is null though a fiber runs; the loop's thread only.
  virtual Refusal why_not() noexcept = 0;
  // The running fiber was interrupted in its wait for a lock, and the caller is about to be told.
  virtual void lock_wait_interrupted(suspend::Fiber& fiber) noexcept = 0;

  // True on the loop's own stack, if the caller can wait there by turning the loop, which turn() does
  // once.
  virtual bool may_turn() noexcept = 0;
  // The same if the thread would otherwise stop for good.
  virtual bool can_turn() noexcept = 0;
  virtual void turn() noexcept = 0;

 protected:
  ~Gate() = default;
};

// Opens the gate for this thread's `loop`, or closes it with null. While it is closed, every call is libc's.
// While it is open, batons are posted through the loop. The loop's thread only.
void open_gate(Gate* gate, loop::IoLoop* loop) noexcept;

// Signal handlers of CPython that run on this thread (signal_calls.h).
inline thread_local int signal_handlers_running = 0;

// Null while closed, and in a signal handler.
Gate* gate() noexcept;
bool gate_is_open() noexcept;
loop::IoLoop& gate_loop() noexcept;
// Calls `callback` on the loop's thread, unless the gate is closed. Any thread.
void post_to_loop(loop::Callback callback) noexcept;

// The OS thread that opened the gate; 0 while closed. Set by open_gate().
inline std::atomic<suspend::ThreadPointer> gate_thread{0};

// True on the OS thread that opened the gate, whichever fiber it runs.
inline bool on_loop_thread() noexcept {
  return suspend::Fiber::os_thread() == gate_thread.load(std::memory_order_relaxed);
}

// False in a child of vfork(), which uses this process's memory but its own descriptors.
bool in_own_process() noexcept;

// The fiber that may suspend here, or null.
inline suspend::Fiber* may_suspend() noexcept {
  if (loaded_here) look_at_loaded();
  Gate* const open = gate();
  return open == nullptr ? nullptr : open->may_suspend();
}

// Whether may_suspend() is worth calling. If a call need not wait, it may take what is ready without that,
// which costs a tenth.
inline bool in_fiber() noexcept { return suspend::Fiber::current() != nullptr && gate() != nullptr; }

}  // namespace blocking
