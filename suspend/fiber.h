// Fibers: code that can be set aside in the middle of a call, stack and all.
#pragma once

#include <boost/context/fiber.hpp>

#include <cassert>
#include <cstddef>
#include <utility>

#include "suspend/stack.h"
#include "suspend/switch_observer.h"
#include "suspend/thread_block.h"

namespace suspend {

class Baton;

// A stack that runs one task at a time: idle -> start() -> running <-> suspended -> idle. To C code
// it is a thread (thread_block.h), whose destructors run as the fiber is destroyed.
// It belongs to the OS thread that made it. A task always finishes: CPython's C frames
// cannot be unwound, so destroying a suspended fiber is a bug.
// A task may go on in coroutines (coroutine.h) and be suspended in any of them, which is where
// it is resumed; it ends on the fiber's own stack.
class Fiber {
 public:
  // noexcept: an exception that escaped would have no frame to go to.
  using Task = void (*)(void* argument) noexcept;

  // Throws std::bad_alloc when there is no room for a stack of `stack_size` bytes, or for a thread.
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

  // What the task waits for; null while it runs, or gave way.
  const Baton* waiting() const noexcept { return waiting_; }
  // Whether the waits of the task are to be ended (baton.h).
  Interrupt& interrupt() const noexcept { return observer_.interrupt(); }

  const Stack& stack() const noexcept { return stack_; }
  // What a layer above keeps of a fiber in the first bytes of the stack's annex costs no page.
  static constexpr std::size_t kAnnexInPage = 1u << 10;
  static constexpr std::size_t kAnnexSize = kAnnexInPage + (16u << 10);
  // Gives memory back that calls before this one used of the stack.
  // REQUIRES: called on this fiber, outside any coroutine.
  void release_unused_stack() noexcept;
  // Between tasks. REQUIRES: idle.
  Stack& idle_stack() noexcept {
    assert(idle());
    return stack_;
  }

  // The fiber that runs, where it is asked on one; else null.
  static Fiber* current() noexcept { return current_; }

  // The thread that the fiber is to C.
  const ThreadBlock& thread() const noexcept { return thread_; }

  // The thread pointer of the calling OS thread, whichever fiber it runs.
  static ThreadPointer os_thread() noexcept {
    return current_ == nullptr ? current_thread_pointer() : current_->resumer_;
  }

  // Fibers alive in the process, for leak checks.
  static int count() noexcept { return count_; }

 private:
  friend class AsFiber;
  friend class AsOsThread;
  friend class Baton;
  friend class Interrupt;

  void run_tasks() noexcept;
  void switch_in() noexcept;
  void switch_out() noexcept;
  void switch_stacks() noexcept;

  Stack stack_;
  ThreadBlock thread_;
  ThreadPointer resumer_ = 0;  // Of whoever started or resumed it.
  SwitchObserver& observer_;
  boost::context::fiber other_side_;  // Where a switch goes: the fiber's side or the resumer's.
  Task task_ = nullptr;
  void* argument_ = nullptr;
  Baton* waiting_ = nullptr;
  bool running_ = false;
  bool stopping_ = false;

  // A fiber's own, set as it first runs; null in every other thread's.
  static inline thread_local Fiber* current_ = nullptr;
  static inline int count_ = 0;
};

// While one lives, code on this stack runs as the thread of `fiber`, which does not run: for what is
// done in the name of a thread from outside. Fiber::current() is null meanwhile.
// REQUIRES: called from outside any fiber; nothing is resumed meanwhile.
class AsFiber {
 public:
  explicit AsFiber(const Fiber& fiber) noexcept : thread_(fiber.thread()), before_(thread_.enter()) {
    itself_ = std::exchange(Fiber::current_, nullptr);
  }
  ~AsFiber() {
    Fiber::current_ = itself_;
    thread_.leave(before_);
  }
  AsFiber(const AsFiber&) = delete;
  AsFiber& operator=(const AsFiber&) = delete;

 private:
  const ThreadBlock& thread_;
  const ThreadPointer before_;
  Fiber* itself_;
};

// While one lives, a fiber's code runs as the OS thread: for what the kernel and libc agree upon by the
// OS thread's number. Does nothing outside a fiber, and in a child of a fiber's fork(), where the fiber is
// the one thread there is and has the number. Fiber::current() is null meanwhile. REQUIRES: the fiber is not
// suspended meanwhile.
class AsOsThread {
 public:
  AsOsThread() noexcept : fiber_(fiber_that_is_no_os_thread()) {
    if (fiber_ != nullptr) fiber_->thread_.leave(fiber_->resumer_);
  }
  ~AsOsThread() {
    if (fiber_ != nullptr) fiber_->thread_.enter();
  }
  AsOsThread(const AsOsThread&) = delete;
  AsOsThread& operator=(const AsOsThread&) = delete;

 private:
  static Fiber* fiber_that_is_no_os_thread() noexcept {
    Fiber* const fiber = Fiber::current();
    return fiber != nullptr && ThreadBlock::is_number(fiber->thread().number()) ? fiber : nullptr;
  }

  Fiber* const fiber_;
};

}  // namespace suspend
