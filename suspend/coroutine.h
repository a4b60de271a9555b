// Coroutines: more stacks for one fiber, which hand the CPU to each other directly.
#pragma once

#include <boost/context/fiber.hpp>

#include <cassert>
#include <cstddef>
#include <memory>

#include "suspend/sanitizer.h"
#include "suspend/stack.h"

namespace suspend {

// To the loop the coroutines of a fiber are one: whichever runs when the fiber suspends is the
// one that is resumed with it. The same on the loop's own stack, and on any OS thread's.
// Coroutines belong to the OS thread they first ran on. A task always finishes, as a fiber's.
class Coroutine {
 public:
  // Says where to go as it finishes: a coroutine of the same fiber.
  using Task = Coroutine& (*)(void* argument) noexcept;

  // Stands for the stack that runs already: a fiber's own, the loop's, an OS thread's.
  Coroutine() noexcept = default;
  // A stack of its own, idle. Throws std::bad_alloc.
  explicit Coroutine(std::size_t stack_size);
  // REQUIRES: idle, where it has a stack of its own; on the OS thread it ran on.
  ~Coroutine();
  Coroutine(const Coroutine&) = delete;
  Coroutine& operator=(const Coroutine&) = delete;

  // Has the next switch to it run task(argument) from the start. REQUIRES: idle, own stack.
  void prepare(Task task, void* argument) noexcept;

  // Leaves this coroutine for `to` and returns once somebody switches back.
  // REQUIRES: this one runs; `to` is another, prepared or left before, of the same fiber.
  void switch_to(Coroutine& to) noexcept;

  bool idle() const noexcept { return task_ == nullptr; }
  const Stack* stack() const noexcept { return stack_.get(); }
  // Between tasks. REQUIRES: idle, own stack.
  Stack& idle_stack() noexcept {
    assert(idle() && stack_);
    return *stack_;
  }

  // Stacks of coroutines in the process, for leak checks.
  static int count() noexcept { return count_; }
  // In a child of a fork, where those of the parent are left as they are.
  static void forget_in_child() noexcept { count_ = 0; }

 private:
  void run_tasks() noexcept;
  void arrived(boost::context::fiber came_from) noexcept;

  std::unique_ptr<Stack> stack_;
  boost::context::fiber continuation_;  // While it does not run.
  Coroutine* left_ = nullptr;           // Whom the switch to this one leaves.
  StackBounds bounds_;
  Task task_ = nullptr;
  void* argument_ = nullptr;
  bool stopping_ = false;

  static inline int count_ = 0;
};

}  // namespace suspend
