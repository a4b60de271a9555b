// Fibers: code that can be set aside in the middle of a call, stack and all.
#pragma once

#include <boost/context/fiber.hpp>

#include <cassert>
#include <cstddef>

#include "suspend/sanitizer.h"
#include "suspend/stack.h"
#include "suspend/switch_observer.h"

namespace suspend {

class Waiting;

// A stack that runs one task at a time: idle -> start() -> running <-> suspended -> idle.
// It belongs to the OS thread that made it. A task always finishes: CPython's C frames
// cannot be unwound, so destroying a suspended fiber is a bug.
// A task may go on in coroutines (coroutine.h) and be suspended in any of them, which is where
// it is resumed; it ends on the fiber's own stack.
class Fiber {
 public:
  // noexcept: an exception that escaped would have no frame to go to.
  using Task = void (*)(void* argument) noexcept;

  // Throws std::bad_alloc when there is no room for a stack of `stack_size` bytes.
  // `observer` outlives the fiber.
  Fiber(std::size_t stack_size, SwitchObserver& observer);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Runs task(argument) until it first suspends or finishes.
  // REQUIRES: idle; called from outside any fiber.
  void start(Task task, void* argument) noexcept;

  // Goes on where the task suspended, until it suspends again or finishes.
  // REQUIRES: suspended; called from outside any fiber.
  void resume() noexcept;

  // Gives the CPU back to whoever started or resumed this fiber.
  // REQUIRES: called on this fiber.
  void suspend() noexcept;

  bool idle() const noexcept { return task_ == nullptr; }

  // Ends the wait that the fiber is in, and each later one as it begins, until calm(). Waits
  // that cannot be ended (waiting.h), and a fiber that does not wait, go on.
  // REQUIRES: called from outside any fiber.
  void interrupt() noexcept;
  void calm() noexcept { interrupt_wanted_ = interrupt_met_ = false; }
  bool interrupt_wanted() const noexcept { return interrupt_wanted_; }
  // Wanted, and not kept off by a shield.
  bool interrupted() const noexcept { return interrupt_wanted_ && shields_ == 0; }
  // A wait has been ended for it.
  bool interrupt_met() const noexcept { return interrupt_met_; }
  // Shields nest.
  void shield() noexcept { ++shields_; }
  void unshield() noexcept { --shields_; }

  // What the task waits for; null while it runs, or gave way.
  const Waiting* waiting() const noexcept { return waiting_; }

  const Stack& stack() const noexcept { return stack_; }
  // Between tasks. REQUIRES: idle.
  Stack& idle_stack() noexcept {
    assert(idle());
    return stack_;
  }

  // The fiber running on this OS thread, or null. Null on every other thread.
  static Fiber* current() noexcept { return current_; }

  // Fibers alive in the process, for leak checks.
  static int count() noexcept { return count_; }

 private:
  friend class Waiting;

  void run_tasks() noexcept;
  void switch_in() noexcept;
  void switch_stacks(const StackBounds& to, StackBounds* came_from) noexcept;

  Stack stack_;
  SwitchObserver& observer_;
  boost::context::fiber other_side_;  // Where a switch goes: the fiber's side or the resumer's.
  Task task_ = nullptr;
  void* argument_ = nullptr;
  Waiting* waiting_ = nullptr;
  int shields_ = 0;
  bool interrupt_wanted_ = false;
  bool interrupt_met_ = false;
  bool running_ = false;
  bool stopping_ = false;
  // As the sanitizer reported them: the resumer's stack, and the one that suspended, which is
  // another than the fiber's own where a coroutine ran on it.
  StackBounds resumer_;
  StackBounds suspended_;

  static inline thread_local Fiber* current_ = nullptr;
  static inline int count_ = 0;
};

}  // namespace suspend
