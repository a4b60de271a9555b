// Fibers: code that can be suspended in the middle of a call, together with its stack.
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

// A stack that runs one task at a time: idle -> start() -> running <-> suspended -> idle. To C
// code it is a thread (thread_block.h), whose destructors run when the fiber is destroyed. It
// belongs to the OS thread that made it. A task must finish: CPython's C frames cannot be
// unwound, so destroying a suspended fiber is a bug. A task may switch to coroutines
// (coroutine.h) and suspend in any of them; it is resumed there, and ends on the fiber's own
// stack.
class Fiber {
 public:
  // noexcept: an exception that escaped would have no frame to go to.
  using Task = void (*)(void* argument) noexcept;

  // Throws std::bad_alloc if there is no room for a stack of `stack_size` bytes or for a thread. The stack is
  // larger where libc's threads need more. `observer` must outlive the fiber.
  Fiber(std::size_t stack_size, SwitchObserver& observer);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Runs task(argument) until it first suspends or finishes.
  // REQUIRES: idle; called from outside any fiber.
  void start(Task task, void* argument) noexcept;

  // Continues where the task suspended, until it suspends again or finishes. REQUIRES: suspended; called from
  // outside any fiber.
  void resume() noexcept;

  // Returns the CPU to the code that started or resumed this fiber. REQUIRES: called on this
  // fiber.
  void suspend() noexcept;

  bool idle() const noexcept { return task_ == nullptr; }

  // What the task waits for. Null while it runs, and after it gave way.
  const Baton* waiting() const noexcept { return waiting_; }
  // Whether the waits of the task must end (baton.h).
  Interrupt& interrupt() const noexcept { return observer_.interrupt(); }

  const Stack& stack() const noexcept { return stack_; }
  // Data of the layer above for this fiber. In the first bytes of the stack's annex it costs no page.
  static constexpr std::size_t kAnnexInPage = 1u << 10;
  static constexpr std::size_t kAnnexSize = kAnnexInPage + (16u << 10);
  // Gives back stack memory that earlier calls used. REQUIRES: called on this fiber, outside any
  // coroutine.
  void release_unused_stack() noexcept;
  // Between tasks. REQUIRES: idle.
  Stack& idle_stack() noexcept {
    assert(idle());
    return stack_;
  }

  // The fiber that the caller runs on, or null.
  static Fiber* current() noexcept { return current_; }

  // The thread that C code takes this fiber for.
  const ThreadBlock& thread() const noexcept { return thread_; }

  // The thread pointer of the calling OS thread, whichever fiber it runs.
  static ThreadPointer os_thread() noexcept {
    return current_ == nullptr ? current_thread_pointer() : current_->resumer_;
  }

  // Number of fibers in the process, for leak checks.
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
  ThreadPointer resumer_ = 0;  // That of the code which started or resumed it.
  SwitchObserver& observer_;
  boost::context::fiber other_side_;  // The target of a switch: the fiber's side or the resumer's.
  Task task_ = nullptr;
  void* argument_ = nullptr;
  Baton* waiting_ = nullptr;
  bool running_ = false;
  bool stopping_ = false;

  // Set when the fiber first runs; null in all other threads.
  static inline thread_local Fiber* current_ = nullptr;
  static inline int count_ = 0;
};

// While one exists, code on this stack runs as the thread of `fiber`, which itself does not run: for work
// that others do in the name of a thread. Fiber::current() is null meanwhile. REQUIRES: called from outside
// any fiber; nothing is resumed meanwhile.
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

// While one exists, a fiber's code runs as the OS thread: for calls in which the kernel and libc identify the
// thread by the OS thread's number. It does nothing outside a fiber, and in a child that a fiber forked,
// where the fiber is the only thread and has that number. Fiber::current() is null meanwhile. REQUIRES: the
// fiber is not suspended meanwhile.
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
